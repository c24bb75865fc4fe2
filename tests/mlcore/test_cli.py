"""The command line: what people type, what scripts read, what goes wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from patience import PATIENCE_S

from mlcore import __main__ as cli
from mlcore.catalogue import ROOMS
from mlcore.commands.report import format_difference
from mlcore.disk.process import boot_id, host_name
from mlcore.environment import child_environment
from mlcore.runs.folder import Runs
from mlcore.runs.states import RunState
from mlcore.spec.run_spec import RunSpec

QUICK = ["--dataset", "digits", "--backbone", "mlp", "--loss", "arcface", "--steps", "4", "--set", "threads=1"]


@pytest.fixture
def root(tmp_path):
    return tmp_path / "runs"


@pytest.fixture
def call(root, capsys):
    """Run a command; returns exit code, standard output and standard error."""

    def act(*arguments):
        with_runs = [] if arguments[0] == "list" else ["--runs", str(root)]
        code = cli.main([*arguments, *with_runs])
        said = capsys.readouterr()
        return code, said.out, said.err

    return act


def strict(text):
    return json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_is_listed_for_people_and_for_scripts(call, room):
    code, out, _ = call("list", room)
    records = strict(call("list", room, "--json")[1])
    assert code == 0
    assert records
    for record in records:
        assert record["key"] in out
        assert record["title"] in out
        assert {"params", "family", "formula", "paper"} <= set(record)


def test_listing_does_not_import_torch(tmp_path):
    code = (
        "import sys; from mlcore.catalogue import write_listing; from mlcore import __main__ as cli\n"
        "if len(sys.argv) > 1: write_listing()\n"
        "else: cli.main(['list', 'losses', '--json']); assert 'torch' not in sys.modules"
    )
    environment = child_environment() | {"XDG_CACHE_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code, "write"], env=environment, check=True)
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, stdout=subprocess.DEVNULL)


def test_a_trained_run_is_told_in_words(call, root):
    code, out, err = call("train", *QUICK, "--name", "My run")
    assert code == 0
    assert "My run: done at step 4 of 4" in out
    assert "map_at_r" in out
    assert str(root) in out
    assert err == ""


def test_with_json_the_last_line_is_the_result(call, root):
    code, out, _ = call("train", *QUICK, "--json")
    result = strict(out.splitlines()[-1])
    assert code == 0
    assert (result["state"], result["step"], result["steps"]) == ("done", 4, 4)
    assert result["looks"][0]["step"] == 0
    assert result["before"]["backbone"]["map_at_r"] > 0
    assert result["after"]["held_out"]["map_at_r"] > 0
    assert os.path.isdir(result["folder"])
    assert Runs(root).ids() == [result["run_id"]]


def test_settings_reach_the_run_and_go_over_the_file(call, root, tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text("loss: {key: arcface, params: {margin: 0.1}}\nbudget: {steps: 9}\nseed: 5\n")
    options = ["--set", "loss.margin=0.3", "--set", "optimizer.head_lr=1e-3", "--set", "head.embedding_size=2"]
    parsed = cli.build_parser().parse_args(["train", "--config", str(config), "--steps", "2", *options])
    spec = cli.spec_from_options(parsed)
    assert (spec.loss.key, spec.loss.params["margin"], spec.budget.steps, spec.seed) == ("arcface", 0.3, 2, 5)
    assert (spec.optimizer.head_lr, spec.head.embedding_size) == (0.001, 2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "--loss", "arcfase"], "Did you mean 'arcface'"),
        (["train", "--set", "loss.margn=0.1"], "Did you mean 'margin'"),
        (["train", "--set", "loss.margin=28.6"], "If that is degrees, pass 0.499"),
        (["train", "--set", "loss.margin"], "--set takes SETTING=VALUE"),
        (["train", "--set", "loss.margin=["], "--set loss.margin: '[' cannot be read"),
        (["train", "--set", "nothing=1"], "There is no setting 'nothing'"),
        (["train", "--set", "seed.x=1"], "seed has no parts"),
        (["train", "--set", "optimizer.name=liom"], "There is no optimizer 'liom'. Did you mean 'lion'?"),
        (["train", "--set", "optimizer.schedule=cosin"], "There is no schedule 'cosin'. Did you mean 'cosine'?"),
        (["train", "--config", "no/such/file.yaml"], "cannot be read"),
        (["show", "nothing"], "There is no run 'nothing'"),
        (["stop", "nothing"], "There is no run 'nothing'"),
        (["resume", "nothing"], "There is no run 'nothing'"),
        (["evaluate", "nothing"], "There is no run 'nothing'"),
        (["spread", "nothing", "else"], "There is no run 'nothing'"),
        (["train", "--seeds", "1"], "--seeds must be at least 2"),
        (["train", "--seeds", "3", "--seed", "2147483646"], "seed"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_exit_code_two(call, arguments, words, root):
    code, out, err = call(*arguments)
    assert code == 2
    assert out == ""
    assert words in err
    assert err.startswith("mlcore: ")
    assert "Traceback" not in err
    assert not root.exists() or Runs(root).ids() == []


def test_a_runs_folder_that_cannot_be_used_is_one_sentence(tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    assert cli.main(["runs", "--runs", str(tmp_path / "file")]) == 2
    assert "is a file" in capsys.readouterr().err


def test_a_full_disk_is_one_sentence(call, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device", "spec.json")

    monkeypatch.setattr(Runs, "create", full)
    code, _, err = call("train", *QUICK)
    assert code == 2
    assert "No space left" in err
    assert "Traceback" not in err


def test_a_run_that_fails_says_why_and_is_exit_code_one(call):
    wild = [f"optimizer.{name}=10" for name in ("backbone_lr", "head_lr", "weight_decay")]
    options = [part for text in wild for part in ("--set", text)]
    code, out, _ = call("train", "--json", *QUICK[:4], "--loss", "contrastive", "--steps", "200", *options)
    result = strict(out.splitlines()[-1])
    assert code == 1
    assert result["state"] == "failed"
    assert "not a number" in result["reason"]


def test_no_runs_says_how_to_get_one(call):
    code, out, _ = call("runs")
    assert code == 0
    assert "python -m mlcore train" in out
    assert strict(call("runs", "--json")[1]) == []


def test_runs_and_show_tell_the_same(call, root):
    call("train", *QUICK, "--name", "One")
    (listed,) = strict(call("runs", "--json")[1])
    shown = strict(call("show", "One", "--json")[1])
    assert {name: shown[name] for name in listed} == listed
    assert (listed["name"], listed["state"]) == ("One", "done")
    out = call("runs")[1]
    assert listed["run_id"][-8:] in out
    assert "One" in out
    words = call("show", listed["run_id"][-8:])[1]
    assert "One: done" in words
    assert "key: arcface" in words


def test_a_damaged_run_does_not_hide_the_others(call, root):
    call("train", *QUICK, "--name", "Whole")
    broken = Runs(root).create(RunSpec())
    (broken.path / "status.json").write_text("{")
    (broken.path / "label.json").write_text("[")
    rows = strict(call("runs", "--json")[1])
    assert sorted(row["state"] for row in rows) == ["done", "lost"]
    assert call("runs")[0] == 0


def test_seeds_are_trained_one_after_the_other_and_their_spread_is_told_last(call, root):
    code, out, _ = call("train", *QUICK, "--seeds", "2", "--seed", "5", "--json")
    *summaries, told = map(strict, out.splitlines())
    assert code == 0
    assert [summary["name"] for summary in summaries] == ["ArcFace on digits, seed 5", "ArcFace on digits, seed 6"]
    assert told["run_ids"] == [summary["run_id"] for summary in summaries] == Runs(root).ids()
    assert told["seeds"] == [5, 6]
    for when in ("before", "after"):
        values = [summary[when]["held_out"]["map_at_r"] for summary in summaries]
        assert told[when]["map_at_r"]["values"] == values
        assert told[when]["map_at_r"]["mean"] == pytest.approx(sum(values) / 2)
    ends = [run_id[-8:] for run_id in told["run_ids"]]
    assert strict(call("spread", *ends, "--json")[1]) == told
    words = call("spread", *ends)[1]
    assert "seeds 5, 6" in words
    assert "±" in words


def test_seeds_end_early_where_a_run_fails(call, root):
    wild = [f"optimizer.{name}=10" for name in ("backbone_lr", "head_lr", "weight_decay")]
    options = [part for text in wild for part in ("--set", text)]
    code, _, err = call("train", "--seeds", "2", *QUICK[:4], "--loss", "contrastive", "--steps", "200", *options)
    assert code == 1
    assert "is failed; 0 of 2 seeds are done" in err
    assert len(Runs(root).ids()) == 1


def test_a_run_is_evaluated_again_for_people_and_for_scripts(call):
    call("train", *QUICK, "--name", "One")
    options = ["evaluate", "One", "--untrained", "--per-class", "--side", "train", "--pca", "4"]
    code, out, err = call(*options)
    record = strict(call(*options, "--json")[1])
    assert (code, err) == (0, "")
    assert (record["name"], record["step"], record["side"], record["pca"]) == ("One", 4, "train", 4)
    lines = [line.split() for line in out.splitlines()]
    for name in ("precision_at_1", "r_precision", "map_at_r", "map", "mrr", "recall_at_8", "nmi", "ami"):
        before, after = record["untrained"][name], record["figures"][name]
        assert [name, f"{before:.3f}", f"{after:.3f}", format_difference(after - before)] in lines
    assert [line[0] for line in lines[-5:]] == [one["class"] for one in record["per_class"]]
    assert call("evaluate", "One", "--tester", "same_parent")[2].endswith("'digits' has none. Use global.\n")


def dead_run(root, **changes):
    """A run whose worker is gone, and nobody has written it down."""
    run = Runs(root).create(RunSpec.read({"backbone": "mlp", "budget": {"steps": 3}, "threads": 1}))
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    run.move(RunState.STARTING, pid=gone.pid, pid_start=1.0, boot_id=boot_id(), host=host_name(), **changes)
    run.move(RunState.RUNNING)
    return run


def test_the_state_is_true_when_worker_and_supervisor_are_gone(call, root):
    run = dead_run(root)
    (row,) = strict(call("runs", "--json")[1])
    assert row["state"] == "lost"
    assert "left no word" in row["reason"]
    assert "lost" in call("show", run.run_id)[1]
    code, _, err = call("stop", run.run_id)
    assert code == 2
    assert "nothing to stop" in err


def run_of_elsewhere(root):
    run = Runs(root).create(RunSpec.read({"backbone": "mlp", "budget": {"steps": 3}, "threads": 1}))
    run.begin_attempt()
    run.move(RunState.STARTING, pid=1, pid_start=1.0, boot_id="another boot", host="lab-2")
    run.move(RunState.RUNNING)
    return run


def test_a_silent_run_of_another_machine_is_taken_over_by_stop_and_then_resumed(call, root, monkeypatch):
    monkeypatch.setattr("mlcore.commands.runs.FAR_SILENT_S", 0.0)
    run = run_of_elsewhere(root)
    code, _, err = call("resume", run.run_id)
    assert (code, "running on another machine, lab-2" in err) == (2, True)
    code, _, err = call("stop", run.run_id)
    assert (code, "lab-2; listening" in err) == (0, True)
    assert run.stored_status().reason_code == "unheard"
    assert call("resume", run.run_id)[0] == 0
    assert run.state == RunState.DONE


def test_a_run_that_lives_on_another_machine_is_asked_to_stop_and_not_taken_over(call, root, monkeypatch):
    run = run_of_elsewhere(root)
    writer = run.attempts()[0].writer()
    monkeypatch.setattr("mlcore.runs.folder.RunFolder.wait_for_sign_of_life.__defaults__", (lambda _: writer.beat(),))
    assert call("stop", run.run_id)[0] == 0
    assert run.asked("cancel")
    assert run.stored_status().state == RunState.RUNNING
    writer.close()


def test_what_lies_among_the_runs_and_is_none_is_told(call, root):
    run = Runs(root).create(RunSpec())
    run.path.rename(root / "my best")
    out, err = call("runs", "--json")[1:]
    assert strict(out) == []
    assert f"the folder 'my best': It holds run {run.run_id}" in err


def test_a_full_disk_is_told_where_runs_wait(call, root, monkeypatch):
    Runs(root).create(RunSpec())
    monkeypatch.setattr("mlcore.runs.folder.Runs.free_bytes", lambda _: 3 * 2**20)
    assert "is full (3 MB free). What waits is started by itself" in call("runs")[2]


def test_a_lost_run_is_resumed_here(call, root):
    run = dead_run(root)
    code, out, _ = call("resume", run.run_id[-8:], "--json")
    assert code == 0
    assert strict(out.splitlines()[-1])["state"] == "done"
    assert run.stored_status().attempt == 2
    code, _, err = call("resume", run.run_id)
    assert code == 2
    assert "only a stopped, failed or lost run" in err


def test_a_waiting_run_is_stopped_at_once_where_nobody_would_do_it(call, root):
    run = Runs(root).create(RunSpec())
    code, out, _ = call("stop", run.run_id, "--json")
    assert code == 0
    assert strict(out) == {"run_id": run.run_id, "asked": "stop"}
    assert run.state == RunState.CANCELLED


def test_a_bar_is_drawn_on_a_terminal_only(call, monkeypatch):
    assert call("train", *QUICK)[2] == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    err = call("train", *QUICK)[2]
    assert "4/4" in err
    assert "MAP@R" in err


def test_a_reader_that_stops_reading_is_no_error(root):
    code = "import sys; from mlcore.__main__ import main; sys.exit(main(['list', 'losses', '--json']))"
    listing = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=child_environment())
    listing.stdout.close()
    assert listing.wait(PATIENCE_S) == 0


def test_the_options_are_explained(capsys):
    for arguments in (["--help"], ["train", "--help"]):
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        assert ended.value.code == 0
    assert "--set SETTING=VALUE" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        cli.main(["list", "nonsense"])
    assert ended.value.code == 2
    capsys.readouterr()


def test_a_run_teaches_another_by_the_end_of_its_id(call, root):
    first = strict(call("train", *QUICK, "--json")[1])
    taught = strict(call("train", *QUICK, "--set", f"teacher.run={first['run_id'][-5:]}", "--json")[1])
    assert taught["state"] == "done"
    teacher = Runs(root).open(taught["run_id"]).spec.teacher
    assert teacher.run == first["run_id"]
    assert len(teacher.sha256) == 64


def test_a_run_that_learns_nothing_says_so_while_it_trains_and_when_it_is_shown(call):
    rates = [f"--set=optimizer.{name}_lr=0" for name in ("backbone", "head", "proxies")]
    code, out, err = call("train", *QUICK, *rates)
    assert code == 0
    for said in (out, err, call("show", "ArcFace on digits")[1]):
        assert "Warning: Every learning rate of what could train is 0" in said
        assert "Warning: In 4 of 4 steps nothing was learned from the loss." in said


def test_a_run_that_could_learn_nothing_is_refused_before_there_is_one(call, root):
    code, _, err = call("train", *QUICK, "--loss", "supcon", "--miner", "packaged_triplets")
    assert code != 0
    assert "needs a batch size that is a multiple of 3" in err
    assert Runs(root).ids() == []


def test_deleted_runs_are_listed_and_restored_by_id_or_name(call, root, quick_spec):
    assert "Nothing in the trash" in call("trash")[1]
    runs = Runs(root)
    first, second = (runs.create(quick_spec.changed({"name": name})) for name in ("the first", "the second"))
    for run in (first, second):
        runs.delete(run.run_id)
    said = call("trash")[1]
    assert f"{first.run_id[-8:]}         in 24 h  the first" in said
    assert "python -m mlcore restore RUN" in said
    assert {row["run_id"] for row in strict(call("trash", "--json")[1])} == {first.run_id, second.run_id}
    assert call("restore", "the first")[1] == "the first is back.\n"
    assert strict(call("restore", second.run_id[-6:], "--json")[1])["run_id"] == second.run_id
    assert runs.ids() == [first.run_id, second.run_id]
    code, _, said = call("restore", "the first")
    assert (code, "python -m mlcore trash" in said) == (2, True)
