// What the server says at an address: {data, tag}. The tag is another whenever the data is. Throws what it complains of.

export async function post(address, order) {
  const answer = await fetch(address, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(order) });
  const data = await answer.json();
  if (!answer.ok) throw new Error(data.error);
  return data;
}

export async function get(address) {
  const answer = await fetch(address, { cache: 'no-cache' });
  const data = await answer.json();
  if (!answer.ok) throw new Error(data.error);
  return { data, tag: answer.headers.get('etag') };
}
