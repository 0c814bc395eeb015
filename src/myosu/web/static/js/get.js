// The server's answer at an address: {data, tag}. The tag changes whenever the data changes. Throws the server's errors.

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
