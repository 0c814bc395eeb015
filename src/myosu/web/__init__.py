"""The pages to play and to watch: the server, and the files that the browser loads."""
