"""The experiment file: what it becomes, and that every mistake is told with its line and a remedy."""

from pathlib import Path
from typing import Annotated

import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nas.experiment import Experiment, ExperimentError
from nas.experiment_file import MAX_BYTES, parse_override, parse_yaml

EXAMPLE = Path(__file__).parents[2] / "examples" / "mnist.yaml"


def load(tmp_path: Path, text: str, *overrides: str) -> Experiment:
    path = tmp_path / "try.yaml"
    path.write_text(text)
    return Experiment.load(path, overrides)


def error_of(tmp_path: Path, text: str, *overrides: str) -> ExperimentError:
    with pytest.raises(ExperimentError) as caught:
        load(tmp_path, text, *overrides)
    return caught.value


def test_the_example_is_the_shape_of_the_issue():
    experiment = Experiment.load(EXAMPLE)
    assert experiment.name == "mnist"
    assert experiment.quality.budget == ("fid<=+10%|+2",)
    assert experiment.search.rungs == (1000, 3000)
    assert experiment.target.min_speedup == 10
    assert experiment.target.max_latency_ms is None
    assert experiment.export.tensorrt == "auto"
    written = yaml.safe_load(EXAMPLE.read_text())
    assert list(written) == [key for key in Experiment.model_fields if key in written], "sections in their order"


def test_shorthands_and_defaults(tmp_path: Path):
    experiment = load(tmp_path, "data: mnist-5k\n")
    assert experiment.name == "try", "the file's stem"
    assert (experiment.data.name, experiment.data.size, experiment.data.channels) == ("mnist-5k", 32, 1)
    assert (experiment.family.name, experiment.family.options) == ("gan", {})
    assert experiment == load(tmp_path, "data: {name: mnist-5k}\nfamily: {name: gan}\nspace: {name: decoder}\n")


def test_to_yaml_writes_every_default_and_reads_back(tmp_path: Path):
    experiment = load(tmp_path, "data: {folder: pics, limit: 300}\nfamily: {name: gan, lr: 2e-4}\nseed: 3\n")
    text = experiment.to_yaml()
    assert yaml.safe_load(text)["search"]["sampler"] == "tpe"
    assert yaml.safe_load(text)["family"] == {"name": "gan", "lr": 0.0002}
    elsewhere = tmp_path / "runs"
    elsewhere.mkdir()
    assert load(elsewhere, text) == experiment, "paths are absolute: another folder makes no difference"


def test_folder_is_relative_to_the_file_and_rgb_by_default(tmp_path: Path):
    data = load(tmp_path, "data: {folder: pics}\n").data
    assert data.folder == tmp_path / "pics"
    assert data.channels == 3


def test_numbers_in_scientific_notation_are_numbers(tmp_path: Path):
    """YAML 1.1, which PyYAML reads, takes 2e-4 for text."""
    assert load(tmp_path, "data: mnist-5k\nfamily: {name: gan, lr: 2e-4, n: 1e+3}\n").family.options == {
        "lr": 0.0002,
        "n": 1000.0,
    }


def test_overrides_apply_in_order_and_open_shorthands(tmp_path: Path):
    experiment = load(
        tmp_path, "data: mnist-5k\n", "search.trials=60", "search.trials=6", "data.limit=300", "quality.budget=fid<=+3"
    )
    assert experiment.search.trials == 6
    assert (experiment.data.name, experiment.data.limit) == ("mnist-5k", 300)
    assert experiment.quality.budget == ("fid<=+3",)


@pytest.mark.parametrize(
    ("text", "location", "value"),
    [
        ("a.b=1", ("a", "b"), 1),
        ("a=[1, 2]", ("a",), [1, 2]),
        ("a=", ("a",), None),
        ("a=b=c", ("a",), "b=c"),
        ("a=1e-3", ("a",), 0.001),
    ],
)
def test_parse_override(text: str, location: tuple[str, ...], value: object):
    assert parse_override(text) == (location, value)


@pytest.mark.parametrize("text", ["search.trials", "=3", "a..b=3", "seed=[1"])
def test_malformed_overrides_are_refused(text: str):
    with pytest.raises(ExperimentError, match=r"--set"):
        parse_override(text)


def test_override_through_a_number_is_refused(tmp_path: Path):
    assert "'seed' has no keys below it: its value is 3" in str(
        error_of(tmp_path, "data: mnist-5k\nseed: 3\n", "seed.x=1")
    )


def test_override_names_itself_as_the_place(tmp_path: Path):
    message = str(error_of(tmp_path, "data: mnist-5k\n", "search.trails=60"))
    assert "--set search.trails=60: there is no key 'search.trails'; did you mean 'trials'?" in message


def test_unknown_key_names_neighbour_and_line(tmp_path: Path):
    error = error_of(tmp_path, "name: a\ndata: mnist-5k\nsearch:\n  minutes: 3\n  trails: 60\n")
    assert "try.yaml, line 5: there is no key 'search.trails'; did you mean 'trials'? The keys here are" in str(error)


def test_key_in_the_wrong_place_is_sent_home(tmp_path: Path):
    assert "line 2: there is no key 'trials' here; it belongs under 'search'" in str(
        error_of(tmp_path, "data: mnist-5k\ntrials: 60\n")
    )


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("seed: -1", "seed must be at least 0; found -1"),
        ("seed: true", "seed must be a whole number; found true"),
        ("seed: '7'", "seed must be a whole number; found '7'"),
        ("name: ../up", "name must match"),
        ("name: ''", "name must match"),
        ("search: {minutes: 0}", "search.minutes must be above 0; found 0"),
        ("search: {minutes: .inf}", "search.minutes must be "),
        ("search: {minutes: .nan}", "search.minutes must be "),
        ("search: {rungs: [900, 300]}", "search.rungs must increase from rung to rung"),
        ("search: {rungs: [300, 300]}", "search.rungs must increase from rung to rung"),
        ("search: {rungs: []}", "search.rungs must not be empty"),
        ("search: {rungs: 300}", "search.rungs must be a list; found 300"),
        ("search: {sampler: tpee}", "must be 'tpe', 'nsga2' or 'random'; found 'tpee' (did you mean 'tpe'?)"),
        ("search: 5", "search must be a mapping of keys to values; found 5"),
        ("compress: {prune_ratios: 0.5}", "compress.prune_ratios must be a list; found 0.5"),
        ("quality: {budget: 12}", "quality.budget must be text like 'fid<=+10%|+2', or a list of such texts; found 12"),
        ("quality: {budget: fid>=+2}", "found 'fid>=+2'. Write fid<=+2 if that is what you mean."),
        ("serch: {}", "there is no key 'serch'; did you mean 'search'? The keys here are compress"),
        ("zzz: {}", "there is no key 'zzz'. The keys here are compress"),
        ("compress: {prune_ratios: [0.5, 2]}", "compress.prune_ratios[1] must be below 1; found 2"),
        ("export: {tensorrt: maybe}", "export.tensorrt must be 'auto', true or false; found 'maybe'"),
        ("target: {max_latency_ms: 0}", "target.max_latency_ms must be above 0"),
        ("reference: {steps: 4}", "reference needs at least one step a point"),
        ("quality: {budget: quite good}", "quality.budget"),
        ("quality: {budget: [fid<=+2, fid<=+10%]}", "One metric has one budget, found several for fid"),
        ("family: {batch: 3}", "family.name is required"),
        ("family: 3", "family must be a mapping of keys to values; found 3"),
        ("1: 2", "a key must be text; found '1'. Put it in quotes"),
    ],
)
def test_wrong_value_says_rule_value_and_line(tmp_path: Path, line: str, rule: str):
    message = str(error_of(tmp_path, f"data: mnist-5k\n{line}\n"))
    assert rule in message
    assert "line 2: " in message


@pytest.mark.parametrize(
    "line", ["compress: {prune_ratios: [2]}", "quality: {budget: fid is good}", "search: {rungs: [0]}"]
)
def test_one_wrong_value_is_told_once(tmp_path: Path, line: str):
    error = error_of(tmp_path, f"data: mnist-5k\n{line}\n")
    assert len(error.problems) == 1
    assert str(error).count("found ") == 1


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        ("{}", "data needs either 'name' (mnist-5k) or 'folder'"),
        ("{name: mnist-5k, folder: x}", "and not both"),
        ("{name: mnist-5k, size: 64}", "leave out 'size' and 'channels'"),
        ("cifar", "data.name must be 'mnist-5k'; found 'cifar'. An embedded data set; your own pictures are written"),
        ("{folder: x, channels: 2}", "data.channels must be 1 or 3; found 2"),
        ("{folder: x, limit: 10}", "data.limit must be at least 200; found 10"),
        ("{folder: x, size: 3}", "data.size must be at least 8; found 3. Height and width of the images"),
    ],
)
def test_wrong_data(tmp_path: Path, data: str, rule: str):
    error = error_of(tmp_path, f"data: {data}\n")
    assert rule in str(error)
    assert len(error.problems) == 1, "one mistake is told once"


def test_missing_section_is_named(tmp_path: Path):
    assert "data is required. mnist-5k, or {folder: pictures/" in str(error_of(tmp_path, "seed: 1\n"))


def test_all_mistakes_are_listed_from_the_top(tmp_path: Path):
    error = error_of(tmp_path, "search: {trails: 1, minutes: -1}\nseed: x\nsearhc: {}\n")
    assert "has 5 mistakes:\n  line 1: " in str(error)
    assert [problem.place for problem in error.problems] == ["line 1", "line 1", "line 2", "line 3", None]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [1\nb: 2\n", "line 2, column 2: this is not YAML"),
        ("\tdata: x\n", "line 1, column 1: this is not YAML"),
        ("", "an experiment is a mapping of keys to values; found nothing"),
        ("- 1\n", "found list"),
        ("seed: 1\nseed: 2\n", "line 2: the key 'seed' was given before, in line 1"),
        ("a: &x [1]\nb: *x\n", "line 2: aliases are not allowed; found '*x'"),
        ("data: !!python/object/apply:os.system ['true']\n", "line 1, column 7: this is not YAML"),
        ("seed: 2001-99-99\n", "a value cannot be read"),
        ("[" * 100_000, "values are nested at most 20 deep"),
        ("? {a: 1}\n: 2\n", "line 1: a key must be text"),
        ("on: 2\n", "line 1: a key must be text; found 'on'. Put it in quotes"),
        ("a: 1\n--- \nb: 2\n", "this is not YAML"),
    ],
)
def test_text_that_is_no_experiment(tmp_path: Path, text: str, told: str):
    assert told in str(error_of(tmp_path, text))


def test_aliases_cannot_unfold(tmp_path: Path):
    """A "billion laughs" file is refused before anything is built from it."""
    bomb = "a: &a [x, x]\n" + "".join(
        f"{new}: &{new} [*{old}, *{old}]\n" for old, new in zip("abcd", "bcde", strict=True)
    )
    assert "aliases are not allowed" in str(error_of(tmp_path, bomb))


def test_files_that_cannot_be_read(tmp_path: Path):
    with pytest.raises(ExperimentError, match="there is no such file"):
        Experiment.load(tmp_path / "no.yaml")
    with pytest.raises(ExperimentError, match="the file cannot be read"):
        Experiment.load(tmp_path)
    (tmp_path / "big.yaml").write_text("#" * (MAX_BYTES + 1))
    with pytest.raises(ExperimentError, match=f"at most {MAX_BYTES} bytes"):
        Experiment.load(tmp_path / "big.yaml")
    (tmp_path / "latin.yaml").write_bytes("name: é".encode("latin-1"))
    with pytest.raises(ExperimentError, match="UTF-8 text; byte 6 is not"):
        Experiment.load(tmp_path / "latin.yaml")


def test_stem_becomes_a_folder_name(tmp_path: Path):
    path = tmp_path / "my digits (2).yaml"
    path.write_text("data: mnist-5k\n")
    assert Experiment.load(path).name == "my-digits-2"


def test_digest_is_of_what_changes_results(tmp_path: Path):
    base = load(tmp_path, "data: mnist-5k\n")
    assert (
        base.digest() == load(tmp_path, "# a remark\ndata: {name: mnist-5k}\nname: x\nsearch: {workers: 8}\n").digest()
    )
    assert base.digest() != load(tmp_path, "data: mnist-5k\nseed: 1\n").digest()
    more = load(tmp_path, "data: mnist-5k\n", "search.trials=99")
    assert base.digest() != more.digest()
    assert base.digest("seed", "data", "reference") == more.digest("reference", "data", "seed")


class GanOptions(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    batch_size: Annotated[int, Field(ge=1, description="Images per step")] = 64


def test_options_are_checked_by_their_own_model(tmp_path: Path):
    good = load(tmp_path, "data: mnist-5k\nfamily: {name: gan, batch_size: 32}\n")
    assert good.options("family", GanOptions) == GanOptions(batch_size=32)
    bad = load(tmp_path, "data: mnist-5k\nfamily:\n  name: gan\n  batch_sise: 32\n")
    with pytest.raises(
        ExperimentError, match=r"line 4: there is no key 'family.batch_sise'; did you mean 'batch_size'\?"
    ):
        bad.options("family", GanOptions)
    low = load(tmp_path, "data: mnist-5k\n", "family.batch_size=0")
    with pytest.raises(
        ExperimentError, match=r"--set family.batch_size=0: family.batch_size must be at least 1; found 0"
    ):
        low.options("family", GanOptions)


def test_problem_carries_the_line(tmp_path: Path):
    experiment = load(tmp_path, "data: mnist-5k\nfamily: gann\n")
    assert "try.yaml, line 2: no such family" in str(experiment.problem(("family", "name"), "no such family"))


def test_experiments_are_frozen():
    experiment = Experiment(data="mnist-5k")
    with pytest.raises(ValidationError, match="frozen"):
        experiment.seed = 3


def test_every_key_is_described():
    def undescribed(model: type[BaseModel]) -> list[str]:
        return [name for name, info in model.model_fields.items() if not info.description]

    sections = [Experiment, *(info.annotation for info in Experiment.model_fields.values())]
    models = [part for part in sections if isinstance(part, type) and issubclass(part, BaseModel)]
    assert len(models) == 10
    assert [undescribed(model) for model in models] == [[]] * 10


def test_parse_yaml_of_nothing():
    assert parse_yaml("# only a remark\n", "here").value is None
