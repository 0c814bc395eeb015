// Keeps the page's files, so that it works without a network. VERSION and FILES are written when it is published.

const VERSION = '{{version}}';
const FILES = {{files}};
const mine = `myosu ${registration.scope} `;

addEventListener('install', event => {
  skipWaiting();
  event.waitUntil(caches.open(mine + VERSION).then(cache => cache.addAll(FILES.map(name => new Request(name, { cache: 'reload' })))));
});

addEventListener('activate', event => {
  event.waitUntil((async () => {
    for (const name of await caches.keys()) if (name.startsWith(mine) && name !== mine + VERSION) await caches.delete(name);
    await clients.claim();
  })());
});

addEventListener('fetch', event => {
  event.respondWith((async () => {
    const cache = await caches.open(mine + VERSION);
    return await cache.match(event.request, { ignoreSearch: true }) ?? fetch(event.request);
  })());
});
