// What the server says at an address: {data, tag}. The tag is another whenever the data is. Throws what it complains of.

export async function get(address) {
  const answer = await fetch(address, { cache: 'no-cache' });
  const data = await answer.json();
  if (!answer.ok) throw new Error(data.error);
  return { data, tag: answer.headers.get('etag') };
}
