// atlas.js: takes one atlas (see widget.py for its layout) and offers it to every widget of the page; draws nothing.
const KEPT = 12; // atlases that stay when their page has gone
const KEPT_OF_ONE = 2; // atlases of one carrier that stay: the one that is shown, and the one before
const carried = new WeakMap(); // parentElement -> keys of the atlases that it brought

export default function ({ data, parentElement }) {
  const box = parentElement.host?.closest('[data-testid="stElementContainer"]');
  if (box) box.style.display = "none";
  if (!data) return;
  const store = (globalThis.__labAtlases ??= {});
  const length = new DataView(data.buffer, data.byteOffset, data.byteLength).getUint32(0, true);
  const atlas = JSON.parse(new TextDecoder().decode(data.subarray(4, 4 + length)));
  if (store[atlas.key]) return;
  store[atlas.key] = { ...atlas, url: URL.createObjectURL(new Blob([data.slice(4 + length)], { type: atlas.mime })) };
  const mine = [...(carried.get(parentElement) ?? []), atlas.key];
  carried.set(parentElement, mine.slice(-KEPT_OF_ONE));
  for (const old of new Set([...mine.slice(0, -KEPT_OF_ONE), ...Object.keys(store).slice(0, -KEPT)])) {
    if (!store[old]) continue;
    URL.revokeObjectURL(store[old].url);
    delete store[old];
  }
  globalThis.dispatchEvent(new CustomEvent("lab-atlas", { detail: atlas.key }));
}
