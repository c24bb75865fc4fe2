"""No secret of the server arrives in a process that it starts, and what a process needs does."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE_S

from app.data.jobs import Jobs
from mlcore.data.decoders import Decoders
from mlcore.data.sources import matlab
from mlcore.engines.local import close_input, start_process
from mlcore.environment import NEEDED, PROJECT, child_environment, names

SECRETS = names(
    """
    AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_SHARED_CREDENTIALS_FILE AWS_PROFILE
    AZURE_CLIENT_SECRET AZURE_STORAGE_CONNECTION_STRING GOOGLE_APPLICATION_CREDENTIALS GCP_SERVICE_ACCOUNT_JSON
    DATABASE_URL PGPASSWORD PGPASSFILE MYSQL_PWD REDIS_URL MONGODB_URI SQLALCHEMY_DATABASE_URI SENTRY_DSN
    SLACK_WEBHOOK_URL GITHUB_PAT GH_TOKEN GITLAB_PAT CI_JOB_JWT AZDO_PERSONAL_ACCESS_TOKEN NPM_CONFIG__AUTH
    TWINE_PASSWORD PIP_INDEX_URL UV_INDEX_URL HF_TOKEN HUGGING_FACE_HUB_TOKEN WANDB_API_KEY KAGGLE_KEY
    KAGGLE_CONFIG_DIR OPENAI_API_KEY ANTHROPIC_API_KEY STRIPE_SK TWILIO_AUTH DJANGO_SECRET_KEY JWT_SIGNING_KEY
    LAB_API_KEY CUDA_REGISTRY_PASS PYTHON_KEYRING_BACKEND MY_PASSWD MAIL_PASSWD BORG_PASSPHRASE GPG_AGENT_INFO
    SSH_AUTH_SOCK SSH_AGENT_PID DBUS_SESSION_BUS_ADDRESS KUBECONFIG DOCKER_HOST DOCKER_CONFIG VAULT_ADDR NETRC
    STREAMLIT_SERVER_COOKIE_SECRET MLFLOW_TRACKING_URI RCLONE_CONFIG_PASS
    """
)
TELL = (
    "import json, os, sys; json.dump([dict(os.environ), sorted(os.listdir('/proc/self/fd'))], open(sys.argv[1], 'w'))"
)


@pytest.fixture
def secrets(monkeypatch):
    for name in SECRETS:
        monkeypatch.setenv(name, f"the secret of {name}")
    for name in ("HTTPS_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://user:the secret of the proxy@proxy:3128")


def check_none_arrived(environment):
    arrived = {name: value for name, value in environment.items() if "the secret of" in value}
    assert arrived == {}
    assert not SECRETS & set(environment)


def test_no_secret_is_passed_on_and_what_is_needed_is(secrets, monkeypatch):
    monkeypatch.setenv("HF_HOME", "/models")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.setenv("ALL_PROXY", "http://proxy:3128")
    environment = child_environment()
    check_none_arrived(environment)
    wanted = {"HF_HOME": "/models", "CUDA_VISIBLE_DEVICES": "1", "ALL_PROXY": "http://proxy:3128"}
    assert wanted.items() <= environment.items()
    assert environment["PATH"] == os.environ["PATH"]


def test_every_variable_that_the_lab_itself_reads_is_passed_on():
    sources = [path.read_text() for room in ("app", "mlcore", "pages") for path in (PROJECT / room).rglob("*.py")]
    read = {name for text in sources for name in re.findall(r"[\"'](LAB_[A-Z_]+)[\"']", text)}
    assert {"LAB_RUNS", "LAB_DATA"} <= read <= NEEDED


@pytest.fixture
def heard(tmp_path):
    """Where a process tells its environment and its open files."""
    return tmp_path / "heard.json"


def check_heard(heard, files):
    environment, descriptors = json.loads(heard.read_bytes())
    check_none_arrived(environment)
    assert len(descriptors) == files + 1  # and the one that lists them


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are listed in /proc")
def test_workers_and_projectors_get_no_secret_and_no_open_file(secrets, monkeypatch, heard, tmp_path):
    (tmp_path / "teller.py").write_text(TELL)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with socket.socket() as agent:
        os.set_inheritable(agent.fileno(), True)
        process = start_process("teller", str(heard), log=tmp_path / "log")
        assert process.wait(PATIENCE_S) == 0, (tmp_path / "log").read_text()
        close_input(process)
    check_heard(heard, 3)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are listed in /proc")
def test_jobs_of_the_data_page_get_no_secret_and_no_open_file(secrets, monkeypatch, heard, tmp_path):
    monkeypatch.setattr("app.data.jobs.COMMAND", ("-c", TELL))
    jobs = Jobs()
    job = jobs.begin("Telling", [str(heard)])
    assert job.process.wait(PATIENCE_S) == 0
    jobs.close()
    check_heard(heard, 3)


def test_decoders_and_the_reader_of_matlab_files_get_no_secret(secrets, monkeypatch):
    given = []

    class Refused(OSError):
        pass

    def refuse(*_, env, **__):
        given.append(env)
        raise Refused

    monkeypatch.setattr(subprocess, "Popen", refuse)
    monkeypatch.setattr(subprocess, "run", refuse)
    with Decoders(1) as decoders, pytest.raises(ValueError, match="can be started"):
        decoders.sizes([(b"", None)])
    with pytest.raises(Refused):
        matlab.read_mat("annos.mat", b"")
    assert len(given) == 2
    for environment in given:
        check_none_arrived(environment)
        assert "HOME" not in environment


def test_nobody_else_starts_a_process_with_an_environment_of_its_own():
    rooms = [path for room in ("app", "mlcore", "pages") for path in (PROJECT / room).rglob("*.py")]
    for path in rooms:
        text = path.read_text()
        assert text.count("subprocess.Popen(") + text.count("subprocess.run(") == text.count(
            "env=child_environment("
        ), path
        assert "close_fds=False" not in text
        assert "pass_fds" not in text


def test_a_worker_runs_with_what_it_is_given(secrets):
    code = "from mlcore.worker import get_ready; get_ready(); print('ready')"
    out = subprocess.run([sys.executable, "-c", code], env=child_environment(), capture_output=True, check=True)
    assert out.stdout == b"ready\n"
