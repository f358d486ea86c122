"""A reference that is trained once: other runs of the same seed, data, family and reference take it over."""

from benchmarks.files import read_json, write_json
from benchmarks.fingerprint import fingerprint
from nas.experiment import Experiment
from nas.folder import DATA_FILE, MACHINE_FILE, RECORD, FolderError, RunFolder, decides_reference, differences

REFERENCE = "reference"
TIMED_ELSEWHERE = "elsewhere.json"  # the record of a reference whose times are another machine's


def reuse_reference(source: RunFolder, folder: RunFolder, experiment: Experiment) -> None:
    """Take the finished reference of ``source`` over into ``folder``, unless that has one.

    Args:
        source: Another run.
        folder: Of ``experiment``.
        experiment: May differ from the other one's in what the reference does not depend on.

    Raises:
        FolderError: the other run has no finished reference, or one of another experiment.
    """
    if folder.record(REFERENCE) is not None:
        return
    source.need(REFERENCE, "leangen search")
    changed = differences(Experiment.load(source.experiment_file).decisive(), experiment.decisive())
    unlike = [key for key in changed if decides_reference(key)]
    if unlike:
        raise FolderError(
            f"the reference in {source.path} is another one than this experiment's (changed: {', '.join(unlike)}): "
            "put that back, or leave out --reference-from to have it trained"
        )
    link_reference(source, folder)


def link_reference(source: RunFolder, folder: RunFolder) -> None:
    """Take over the reference, and the hashes of the pictures that it was trained on.

    One from another machine is not finished here: ``nas.reference`` times its files anew, and then it is.
    """
    kept = source.path / DATA_FILE
    if kept.is_file() and not (folder.path / DATA_FILE).is_file():
        write_json(folder.path / DATA_FILE, read_json(kept))
    machine = source.path / MACHINE_FILE
    here = machine.is_file() and read_json(machine) == fingerprint().to_json()
    folder.link(source, REFERENCE, RECORD if here else TIMED_ELSEWHERE)
