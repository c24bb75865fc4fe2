"""A page with one live map over made-up clusters; the tests and benchmarks drive it by its buttons and the URL."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import streamlit as st

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from app.shared.palette import class_colours
from app.widgets.map import MapFrame, live_map


def demo_frame(step: int, count: int, classes: int, dims: int, method: str, theme: str, nogl: bool = False) -> MapFrame:
    """Clusters that draw together with `step`: seeded, so every call with the same arguments is the same picture."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % classes
    centres = rng.normal(size=(classes, 3))
    noise = rng.normal(size=(count, 3))
    if method == "head":
        centres /= (
            np.linalg.norm(centres, axis=1, keepdims=True)
            if dims == 3
            else np.linalg.norm(centres[:, :2], axis=1, keepdims=True)
        )
    pull = 1 - np.exp(-step / 60)
    places = (3 if method != "head" else 1) * centres[labels] * pull + noise * (1.3 - pull) * (
        1 if method != "head" else 0.6
    )
    turn = np.array([[np.cos(step / 90), -np.sin(step / 90)], [np.sin(step / 90), np.cos(step / 90)]])
    places[:, :2] = places[:, :2] @ turn
    proxies = 3 * centres * pull
    proxies[:, :2] = proxies[:, :2] @ turn
    if method == "head":
        places, proxies = _on_sphere(places, dims), _on_sphere(proxies, dims)
    names = ("<b>bold</b>", *(f"class {label}" for label in range(1, classes)))
    return MapFrame(
        run="demo",
        step=step,
        method=method,
        dims=dims,
        positions=places[:, :dims].astype(np.float32),
        ids=np.arange(count) * 3 + 5,
        labels=labels,
        held_out=labels >= classes // 2,
        class_names=names,
        colours=tuple(class_colours(names, theme)),
        total=count + 232,
        proxies=proxies[: classes // 2, :dims].astype(np.float32),
        proxy_labels=np.arange(classes // 2),
        wedges=np.tile(np.float32([0.05, 0.1]), (classes // 2, 1)) if method == "head" and dims == 2 else None,
        faith={"knn_kept": 0.62, "trustworthiness": 0.913},
        theme=theme,
        nogl=nogl,
    )


def _on_sphere(places: np.ndarray, dims: int) -> np.ndarray:
    flat = places[:, :dims]
    return flat / np.linalg.norm(flat, axis=1, keepdims=True)


def main() -> None:
    st.set_page_config(layout="wide")
    asked = st.query_params
    theme = st.context.theme.type or "light"
    st.session_state.setdefault("step", int(asked.get("step", 0)))
    st.session_state.setdefault("scripts", 0)
    st.session_state.scripts += 1
    columns = st.columns(4)
    if columns[0].button("Next step"):
        st.session_state.step += 30
    dims = 3 if columns[1].checkbox("3-D", value=asked.get("dims") == "3") else 2
    method = columns[2].selectbox(
        "Method", ["umap", "pca", "head"], index=["umap", "pca", "head"].index(asked.get("method", "umap"))
    )
    if columns[3].checkbox("Map", value=True):
        _picture(int(asked.get("count", 2000)), int(asked.get("classes", 10)), dims, method, theme, "nogl" in asked)


@st.fragment
def _picture(count: int, classes: int, dims: int, method: str, theme: str, nogl: bool) -> None:
    frame = demo_frame(st.session_state.step, count, classes, dims, method, theme, nogl)
    known = st.session_state.get("events")
    if known is not None and known.picked is not None:
        row = int(np.flatnonzero(frame.ids == known.picked)[0])
        away = np.linalg.norm(frame.positions - frame.positions[row], axis=1)
        near = np.argsort(away)[1:9]
        frame = MapFrame(**{**vars(frame), "picked": known.picked, "neighbours": tuple(frame.ids[near].tolist())})
    events = live_map(frame, key="map", height=int(st.query_params.get("height", 560)))
    if events.changed:
        st.session_state.events = events
        if "picked" in events.changed:
            st.rerun(scope="fragment")
    st.text(f"lasso {len(events.lasso)} picked {events.picked} hidden {events.hidden} follow {events.follow}")
    st.text(f"scripts {st.session_state.scripts}")


if __name__ == "__main__":
    main()
