// atlas.js: takes one atlas (see widget.py for its layout) and offers it to every widget of the page; draws nothing.
const KEPT = 12; // atlases that stay when their page has gone

export default function ({ data, parentElement }) {
  const box = parentElement.host?.closest('[data-testid="stElementContainer"]');
  if (box) box.style.display = "none";
  if (!data) return;
  const store = (globalThis.__labAtlases ??= {});
  const length = new DataView(data.buffer, data.byteOffset, data.byteLength).getUint32(0, true);
  const atlas = JSON.parse(new TextDecoder().decode(data.subarray(4, 4 + length)));
  if (store[atlas.key]) return;
  store[atlas.key] = { ...atlas, url: URL.createObjectURL(new Blob([data.slice(4 + length)], { type: atlas.mime })) };
  for (const old of Object.keys(store).slice(0, -KEPT)) {
    URL.revokeObjectURL(store[old].url);
    delete store[old];
  }
  globalThis.dispatchEvent(new CustomEvent("lab-atlas", { detail: atlas.key }));
}
