"""`optuna-dashboard` on a real run: its own server, asked in this process, without a network."""

import io
import json
import shlex
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import numpy as np
import optuna
import pytest
from optuna.artifacts import FileSystemArtifactStore, get_all_artifact_meta
from PIL import Image

from nas.artifacts import attach, dashboard_command
from nas.folder import RunFolder
from nas.pictures import grid_png
from nas.progress import Silent
from nas.proposals import open_study
from nas.worker import SAMPLES_FILE

optuna_dashboard = pytest.importorskip("optuna_dashboard", reason="needs the extra `dashboard`")


class Heard(Silent):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)


@pytest.fixture
def ask(tiny_run):
    """GET a path of the dashboard that the printed command starts; returns status and content."""
    arguments = shlex.split(dashboard_command(tiny_run.folder))
    assert (arguments[0], arguments[2]) == ("optuna-dashboard", "--artifact-dir")
    app = optuna_dashboard.wsgi(arguments[1], FileSystemArtifactStore(arguments[3]))

    def get(path: str) -> tuple[str, bytes]:
        environ: dict[str, Any] = {}
        setup_testing_defaults(environ)
        environ |= {"PATH_INFO": path, "QUERY_STRING": "", "wsgi.input": io.BytesIO()}
        status = []
        response = app(environ, lambda text, *_: status.append(text))
        body = b"".join(response)
        if hasattr(response, "close"):
            response.close()
        return status[0], body

    return get


def test_it_lists_the_study_with_both_objectives(ask):
    status, body = ask("/api/studies")
    (study,) = json.loads(body)["study_summaries"]
    assert status == "200 OK"
    assert (study["study_name"], study["directions"]) == ("search", ["minimize", "minimize"])


def test_it_shows_every_trial_and_the_pictures_of_each_that_was_trained(ask, tiny_run):
    study = json.loads(ask("/api/studies")[1])["study_summaries"][0]["study_id"]
    detail = json.loads(ask(f"/api/studies/{study}")[1])
    assert detail["objective_names"] == ["score", "latency ratio"]
    assert len(detail["trials"]) == tiny_run.summary["search"]["trials"]
    trained = {one["id"] for one in tiny_run.summary["candidates"] if one["rung"]}
    assert trained
    shown = {}
    for trial in detail["trials"]:
        attributes = {one["key"]: one["value"].strip('"') for one in trial["user_attrs"]}
        assert attributes["outcome"]
        if trial["artifacts"]:
            (artifact,) = trial["artifacts"]
            status, content = ask(f"/artifacts/{study}/{trial['trial_id']}/{artifact['artifact_id']}")
            assert (status, artifact["mimetype"]) == ("200 OK", "image/png")
            shown[attributes["candidate"]] = content
    assert set(shown) == trained
    for name, content in shown.items():
        assert content == (tiny_run.folder / "candidates" / name / SAMPLES_FILE).read_bytes()
        picture = Image.open(io.BytesIO(content))
        assert picture.size == (8 * 2 * 32, 4 * 2 * 32)  # 32 pictures of 32 pixels, each pixel twice as wide
        assert np.asarray(picture).std() > 1


def test_a_picture_is_attached_once_however_often_a_killed_search_comes_to_it(tmp_path):
    study = open_study(tmp_path / "study.db")
    number = study.ask().number
    picture, store = tmp_path / "samples.png", tmp_path / "artifacts"
    picture.write_bytes(grid_png(np.zeros((4, 1, 8, 8))))
    for _ in range(3):
        attach(study, study.trials[number], picture, store)
    assert len(list(store.iterdir())) == 1
    (meta,) = get_all_artifact_meta(study.trials[number], storage=study._storage)
    assert (meta.filename, meta.mimetype) == ("samples.png", "image/png")


def test_a_command_survives_a_folder_with_a_blank(tmp_path):
    words = shlex.split(dashboard_command(Path("my runs/a")))
    assert words == ["optuna-dashboard", "sqlite:///my runs/a/study.db", "--artifact-dir", "my runs/a/artifacts"]
    optuna.create_study(storage=f"sqlite:///{tmp_path / 'my study.db'}")
    assert (tmp_path / "my study.db").is_file()


def test_the_search_ends_with_the_command(tiny_run, make_context, scripted):
    from nas.limits import Limits
    from nas.study import Search

    heard = Heard()
    context = make_context(search={"trials": 1, "minutes": 1e-9})
    Search(context, Limits(Path("x"), 1.0, 1.0, 1.0, 1.0), scripted(lambda job: {}), heard).run()
    assert heard.said == [
        f"every candidate and what it draws: {dashboard_command(RunFolder(context.folder.path).shown)}"
    ]
