"""What `optuna-dashboard` shows of a run: every trial, and beside it the pictures that its candidate draws."""

import shlex
from pathlib import Path

import optuna
from optuna.artifacts import FileSystemArtifactStore, get_all_artifact_meta, upload_artifact
from optuna.trial import FrozenTrial

FOLDER = "artifacts"


def attach(study: optuna.Study, trial: FrozenTrial, picture: Path, store: Path) -> None:
    """Copy ``picture`` (a PNG file) into the folder ``store`` and note it in ``trial``, unless it is noted already.

    Args:
        study: Whose storage keeps the note.
        trial: One that still runs: Optuna lets nobody change a finished one.
        picture: The file.
        store: The folder that ``optuna-dashboard --artifact-dir`` is given; made if it is not there.
    """
    storage = study._storage
    if any(meta.filename == picture.name for meta in get_all_artifact_meta(trial, storage=storage)):
        return
    store.mkdir(exist_ok=True)
    upload_artifact(
        artifact_store=FileSystemArtifactStore(store),
        file_path=str(picture),
        study_or_trial=trial,
        storage=storage,
        mimetype="image/png",
    )


def dashboard_command(run: Path) -> str:
    """Return the command that shows the search in the run folder ``run``."""
    return shlex.join(["optuna-dashboard", f"sqlite:///{run / 'study.db'}", "--artifact-dir", str(run / FOLDER)])
