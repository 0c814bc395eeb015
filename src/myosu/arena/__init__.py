"""Many players in one league: who meets whom, in processes side by side, kept in a folder, rated on one scale."""
