"""Starting: the run that the draft describes, and the untrained preview that stands for it until then."""

from __future__ import annotations

import uuid
from datetime import datetime

import streamlit as st

from app.server import LabServer, lab_server, read_history, read_queue, torch_is_ready
from app.shared.data_split import cached_split
from app.shared.draft import Draft
from app.shared.error_guard import guard_errors
from app.shared.stored_widgets import SESSION
from app.shared.text import count, escape_markdown, format_duration
from app.shared.view import view_run
from mlcore.catalogue import registry
from mlcore.data import load
from mlcore.margins import MarginLine
from mlcore.runs.checkpoints import with_teacher
from mlcore.runs.folder import RunFolder, RunNotFound
from mlcore.runs.previews import preview_nonce, preview_spec
from mlcore.runs.records import MarginLineRecord
from mlcore.runs.states import RunState
from mlcore.spec.concerns import Concern, run_concerns
from mlcore.spec.run_spec import RunSpec

NONCE = "lab.nonce"
PREVIEW = "lab.preview"
TRIED = "lab.preview.tried"  # failed previews that this session has tried again
NEAR_RUNS = 40
LOOK_S = 2.0  # seconds between looks at the queue


def start(stage: LabServer, specs: list[RunSpec]) -> None:
    """Queue the runs and show the first. Pressed twice, each is one run; several say that they belong together."""
    nonce = st.session_state.setdefault(NONCE, uuid.uuid4().hex)
    note = f"{len(specs)} losses, {datetime.now():%d %b %H:%M:%S}" if len(specs) > 1 else ""
    runs = [stage.runs.create(spec, nonce=f"{nonce}-{number}") for number, spec in enumerate(specs)]
    for run in runs if note else ():
        run.set_label(note=note, started_together=note)
    stage.supervisor.wake()
    st.session_state[NONCE] = uuid.uuid4().hex
    view_run(runs[0].run_id)


def with_fingerprint(spec: RunSpec) -> RunSpec:
    found = load(spec.dataset.key, **spec.dataset.params).fingerprint
    return spec.model_copy(update={"dataset": spec.dataset.model_copy(update={"fingerprint": found})})


def open_preview(stage: LabServer, spec: RunSpec) -> RunFolder | None:
    """The chosen data through the chosen backbone, untrained: a run of no steps, made once for each such choice.

    None where it is not there and nothing can be written.
    """
    bare = with_fingerprint(preview_spec(spec))
    nonce = preview_nonce(bare)
    run, blocked = stage.runs.made(nonce), stage.runs.write_fault()
    if blocked:
        return run
    if run is None:
        run = stage.runs.create(bare, purpose="preview", nonce=nonce)
    if request_preview(run):
        stage.supervisor.wake()
    preview_viewers = stage.preview_viewers
    preview_viewers.add(session_name(), run.run_id)
    before = st.session_state.get(PREVIEW)
    if before != run.run_id:
        stage.supervisor.wake()
        st.session_state[PREVIEW] = run.run_id
        if before is not None and preview_viewers.remove(session_name(), before):
            give_up(stage, before)
    return run


def session_name() -> str:
    """A name of this session."""
    return st.session_state.setdefault(SESSION, uuid.uuid4().hex[:12])


def request_preview(run: RunFolder) -> bool:
    """See to it that a preview which somebody looks at comes, or comes again; whether it had to be queued.

    One that was stopped when nobody wanted it goes on. One that failed is tried once by every session that asks for it.
    """
    if not run.state.finished:
        run.withdraw_request("cancel")
        return False
    tried = st.session_state.setdefault(TRIED, set())
    failed = run.state in (RunState.FAILED, RunState.LOST)
    if run.state != RunState.CANCELLED and not (failed and run.run_id not in tried):
        return False
    if failed:
        tried.add(run.run_id)
    try:
        run.resume()
    except ValueError:  # another session was first
        return False
    return True


def give_up(stage: LabServer, run_id: str) -> None:
    """A preview that nobody waits for any more makes room for the next one."""
    try:
        run = stage.runs.open(run_id)
    except RunNotFound:
        return
    if not run.state.finished:
        run.stop()


def seconds_per_step(stage: LabServer, spec: RunSpec) -> float | None:
    """From the newest run here with the same data, backbone and batch; None if there was none."""
    for run_id in reversed(stage.runs.ids()[-NEAR_RUNS:]):
        try:
            run = stage.runs.open(run_id)
            other = run.spec
        except ValueError:
            continue
        alike = (
            other.dataset.key == spec.dataset.key
            and other.backbone == spec.backbone
            and other.sampler.batch_size == spec.sampler.batch_size
        )
        if alike and other.budget.steps:
            past = read_history(run)
            if len(past.steps) > 5:
                return spec.sampler.batch_size / max(past.steps[-1]["images_per_s"] or 0.0, 1e-9)
    return None


def start_words(stage: LabServer, spec: RunSpec, runs: int = 1) -> str:
    """'Start: 60 steps, about 0:20'; 'Start 5 runs: 60 steps each, about 1:40'."""
    pace = seconds_per_step(stage, spec)
    about = f", about {format_duration(max(1.0, pace * spec.budget.steps) * runs)}" if pace else ""
    several, each = (f" {runs} runs", " each") if runs > 1 else ("", "")
    return f"Start{several}: {count(spec.budget.steps, 'step')}{each}{about}"


def refusal_words(refusal: str) -> str | None:
    """Why nothing can be started, as the help of a button."""
    return escape_markdown(refusal, 400) or None


def what_is_started(draft: Draft) -> str:
    """'ArcFace · Small convolutional net · Glyphs'"""
    dataset = draft.part("dataset")
    words = [
        registry("losses")[draft.get("loss")].title,
        registry("backbones")[draft.get("backbone")].title,
        escape_markdown(dataset.title) if dataset else None,
    ]
    return " · ".join(filter(None, words))


@st.fragment(run_every=LOOK_S)
@guard_errors
def queue_caption() -> None:
    """How many runs wait before the next one; the queue goes on without the person's doing."""
    if waiting := len(read_queue().waiting()):
        st.caption(f"{count(waiting, 'run')} in the queue")


def draft_margin_lines(spec: RunSpec) -> list[MarginLineRecord]:
    """The margin lines of the loss that is being set up; none while torch is still being imported."""
    if not torch_is_ready():
        return []
    from mlcore.losses import LOSSES

    loss = LOSSES[spec.loss.key].build({"num_classes": 2, "embedding_size": 2}, **spec.loss.params)
    lines: tuple[MarginLine, ...] = loss.margin_lines() if hasattr(loss, "margin_lines") else ()
    return [MarginLineRecord(text=line.text, between=line.between, kind=line.kind, value=line.value) for line in lines]


def draft_or_fault(draft: Draft) -> tuple[RunSpec | None, str]:
    """The draft as a spec of images and a teacher that are here, or what is wrong with it."""
    try:
        return with_teacher(with_fingerprint(draft.spec()), lab_server().runs), ""
    except (ValueError, OSError) as error:
        return None, str(error)


def concerns_before_start(specs: list[RunSpec]) -> list[Concern]:
    """What there is to know before these runs beside what is said of their split; each sentence once."""
    found: dict[str, Concern] = {}
    for spec in specs:
        table = load(spec.dataset.key, **spec.dataset.params)
        try:
            parted = cached_split(spec.dataset.model_dump_json(), table.fingerprint)
        except ValueError as error:
            found[str(error)] = Concern(str(error), stops=True)
            continue
        found |= {concern.text: concern for concern in run_concerns(spec, table, parted)}
    return list(found.values())
