"""What an ablation file must not say, and what it may."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmad.base.errors import SpecError
from mmad.config.ablation_file import parse_file, parse_override
from mmad.config.load import load_ablation, load_setup

#: File → (line, words of the message in this order).
REFUSED = {
    'title = "a\n': (1, "not valid TOML"),
    "[setup\n": (1, "not valid TOML"),
    "[setup]\nlr = 1\nlr = 2\n": (3, "not valid TOML"),
    "[setup]\nlrr = 1\n": (2, "setup.lrr: unknown key; did you mean lr?"),
    "sttings = 1\n": (1, "sttings: unknown key; did you mean settings?"),
    "[setup]\npatience = 3\n": (2, "did you mean reduceLROnPlateau_patience?"),
    "[setup]\nepochs = 3\n": (2, "setup.epochs: unknown key; it belongs in [protocol]"),
    "[protocol]\nlr = 1\n": (2, "protocol.lr: unknown key; it belongs in [setup]"),
    "[setup]\nseeds = [1]\n": (2, "setup.seeds: unknown key; it belongs in [protocol]"),
    "[protocol]\nepchos = 1\n": (2, "did you mean epochs?"),
    "[protocol]\nweights_hash = 'a'\n": (2, "protocol.weights_hash: unknown key"),
    "[phantom]\nstudys = 30\n": (2, "phantom.studys: unknown key; did you mean studies?"),
    "[setup]\nzzz = 1\n": (2, "`mmad schema`"),
    '[setup]\nlr = "1"\n': (2, 'setup.lr: expected a number, got "1"'),
    "[setup]\nlr = true\n": (2, "setup.lr: expected a number, got true"),
    "[setup]\nlr = nan\n": (2, "setup.lr: expected a finite number"),
    "[setup]\nlr = 0\n": (2, "expected a number greater than 0, got 0"),
    "[setup]\nlr = 100\n": (2, "expected a number of at most 10, got 100"),
    "[setup]\nbatch_size = 2.5\n": (2, "expected a whole number, got 2.5"),
    "[setup]\nbatch_size = true\n": (2, "expected a whole number, got true"),
    "[setup]\nfuse_stride = true\n": (2, "expected a whole number, got true"),
    "[setup]\nfuse_stride = 3\n": (2, "fuse_stride: expected 1 or 2, got 3"),
    "[setup]\nuse_clinical = 1\n": (2, "expected true or false, got 1"),
    "[setup]\nuse_clinical = 'true'\n": (2, 'expected true or false, got "true"'),
    '[setup]\nfusion_strategy = "mul"\n': (2, 'expected "concat" or "add", got "mul"'),
    '[setup]\noptimiser = "sdg"\n': (2, 'did you mean "sgd"?'),
    '[setup]\nlr_scheduler = "MultistepLR"\n': (2, 'did you mean "MultiStepLR"?'),
    '[setup]\nnorm_momentum = "x"\n': (2, 'expected a number or "none", got "x"'),
    '[setup]\nmultiStepLR_milestones = "x"\n': (2, "expected a whole number or a list"),
    "[setup]\nloss_weights = { loss_classifier = true }\n": (2, 'expected a number or "detach", got true'),
    "[setup]\nloss_weights = { loss_clasifier = 1 }\n": (2, "loss_weights.loss_clasifier"),
    "setup = 3\n": (1, "setup: expected a table, got 3"),
    "title = 2022-05-16\n": (1, "title: expected no date or time"),
    "[setup]\nimage_size = 250\n": (2, "image_size = 250: must be a power of two"),
    '[setup]\nbackbone = "resnet81"\n': (2, "backbone = 'resnet81': expected one of"),
    "[setup]\nfuse_depth = 0\n": (2, 'fusion_strategy = "concat" with fuse_depth = 0'),
    "[setup]\nusing_fpn = true\n": (2, "it has no feature pyramid; use one of resnet18"),
    '[setup]\ndataset_mode = "full"\n': (2, 'set dataset_mode = "normal", or use_clinical = false'),
    '[setup]\nbackbone = "timm:resnet18"\n': (2, 'add their tag, as in "timm:resnet18.a1_in1k"'),
    "[setup]\nfusion_residual = true\nfusion_residule = true\n": (2, "fusion_residule is given too"),
    "[grid]\nreduceLROnPlateau_patience = []\n": (2, "grid.reduceLROnPlateau_patience: an empty grid"),
    "[grid]\n": (1, "grid: an empty grid"),
    "[grid]\nlr = 1e-3\n": (2, "grid.lr: expected a list"),
    '[grid]\nlr = [1e-3, "x"]\n': (2, "grid.lr[2]: expected a number"),
    "[grid]\nlr = [1, 1.0]\n": (2, "a value is listed twice"),
    "settings = []\n": (1, "there are no settings"),
    '[[external]]\nname = "A"\nfolder = "a"\n': (3, "external[1].folder: unknown key; expected one of name, dir, map"),
    '[[external]]\nname = "A"\n': (1, "external[1]: dir is missing"),
    '[[external]]\nname = "A"\ndir = "a"\n[[external]]\nname = "A"\ndir = "b"\n': (5, "'A' is named twice"),
    "[arms]\n": (1, "there are no arms"),
    '[arms."CXR "]\n': (1, "'CXR ' has blanks at an end; leave them out"),
    '[arms."\u00e9"]\n[arms."e\u0301"]\n': (2, "'e\\u0301' and '\\xe9' look like one name"),
    '[[settings]]\nname = "a"\n[[settings]]\nname = " a"\n': (4, "' a' has blanks at an end"),
    'compare = [["A", "B"], ["B", "A"]]\n[arms.A]\n[arms.B]\n': (1, "'B' and 'A' are compared twice"),
    "[[settings]]\nlr = 1\n": (1, "settings[1]: name is missing"),
    '[[settings]]\nname = ""\n': (2, "settings[1].name: expected a text that is not empty"),
    '[[settings]]\nname = "a"\n[[settings]]\nname = "a"\n': (3, "the setting 'a' is there twice"),
    '[[settings]]\nname = "a"\ndocumented = { CRX = "e069" }\n': (3, "no arm is named 'CRX'; did you mean CXR?"),
    '[[settings]]\nname = "a"\ndocumented = { CXR = "69" }\n': (3, "expected an entry of the log such as e069"),
    'compare = [["CXR", "Clinical"]]\n': (1, "no arm is named 'Clinical'; did you mean CXR+Clinical?"),
    'compare = [["CXR", "b"]]\n[arms.CXR]\n': (1, "there is only one arm"),
    'compare = [["CXR"]]\n': (1, "compare[1]: expected two arms"),
    'compare = [["CXR", "CXR"]]\n': (1, "with itself"),
    "[protocol]\nseed = 1\nseeds = [1]\n": (2, "seeds is given too"),
    "[protocol]\nseeds = [1, 1]\n": (2, "a seed is listed twice"),
    "[protocol]\nseeds = []\n": (2, "expected at least one value"),
    "[protocol]\nseeds = [-1]\n": (2, "expected a number of at least 0"),
    "[protocol]\nseeds = 3\n": (2, "expected a list or a table, got 3"),
    '[protocol]\nseeds = { from = 2, to = 9, until = "settled" }\n': (2, "seeds.from: expected a number of at least 3"),
    '[protocol]\nseeds = { from = 3, to = 9, until = "setled" }\n': (2, 'did you mean "settled"?'),
    "[protocol]\nseeds = { from = 9, to = 5 }\n": (2, "let to be more than from"),
    '[[settings]]\nname = "a"\nseeds = { from = 3, to = 9 }\n': (3, "put it in [protocol]"),
    '[protocol]\nseeds = { from = 3, to = 9 }\n[[settings]]\nname = "a"\nseed = 1\n': (5, "leave one of them out"),
    "[protocol]\nseeds = { from = 3, to = 9 }\n[grid]\nseed = [1]\n": (4, "[protocol] has seeds until settled"),
    "[protocol]\nseeds = [0, 1, 2]\n[hypothesis]\nmargin = 0.1\n": (4, "a difference is shown without a margin"),
    '[protocol]\nseeds = [0, 1, 2]\n[hypothesis]\ngoal = "equivalence"\n': (4, "equivalence needs a margin"),
    '[protocol]\nseeds = [0, 1, 2]\n[hypothesis]\ncompare = ["CXR+Clinical", "CXR"]\n': (4, '["CXR", "CXR+Clinical"]'),
    "[protocol]\nseeds = [0, 1, 2]\n[hypothesis]\nseeds = 4\n": (4, "4, but 'default' has 3"),
    "[hypothesis]\nalpha = 0.05\n": (1, "nothing can be settled about the arms"),
    '[protocol]\nseeds = { from = 3, to = 9 }\n[hypothesis]\ngoal = "equivalence"\nmargin = 0.1\n': (4, "decided once"),
    "[setup]\nuse_early_stop_model = false\n[protocol]\nseeds = [0, 1, 2]\n[hypothesis]\nalpha = 0.05\n": (
        *(5, 'keep no best checkpoint; set checkpoint = "final"'),
    ),
    "[protocol]\nfolds = 1\n": (2, "expected a number of at least 2, got 1"),
    "[protocol]\nfold_seed = 1\n": (2, "there are no folds; add folds = 5"),
    "[protocol]\nfolds = 3\nseeds = { from = 3, to = 9 }\n": (2, "seeds until settled are looked at on one test split"),
    f'[protocol]\nfolds = 3\n[[settings]]\nname = "a"\ncontinue_from = "{"a" * 64}"\n': (2, "'a' continues a run"),
    '[[settings]]\nname = "a"\nfolds = 3\n': (3, "unknown key; it belongs in [protocol]"),
    '[protocol]\ninferred = ["fuse_stide"]\n': (2, "'fuse_stide' is no field; did you mean fuse_stride?"),
}


@pytest.mark.parametrize("text", REFUSED)
def test_a_bad_file_is_refused_in_one_line_that_names_the_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(text, encoding="utf-8")
    line, words = REFUSED[text]
    with pytest.raises(SpecError) as caught:
        load_ablation(file)
    message = str(caught.value)
    assert message.startswith(f"{file}:{line}: "), message
    assert words in message
    assert "\n" not in message
    assert len(message) < len(str(file)) + 260


def test_the_problem_that_stands_first_is_told(tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text("[protocol]\nepochs = 0\n\n[setup]\nlr = -1\n")
    with pytest.raises(SpecError, match=r"bad\.toml:2: protocol\.epochs"):
        load_ablation(file)


def test_the_line_of_an_impossible_combination_is_that_of_the_table_that_gives_it(tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text('[setup]\nfuse_depth = 4\n\n[[settings]]\nname = "none"\nfuse_depth = 0\n')
    with pytest.raises(SpecError, match=r"bad\.toml:6: "):
        load_ablation(file)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("epochs", "--set epochs: expected field=value"),
        ("=1", "expected field=value"),
        ("epochz=1", "--set epochz=1: epochz: unknown field; did you mean epochs?"),
        ("weights_hash=a", "unknown field"),
        ("epochs=0", "expected a number of at least 1, got 0"),
        ("epochs=1.5", "expected a whole number, got 1.5"),
        ("use_clinical=True", "expected true or false"),
        ("lr=x", 'lr: expected a number, got "x"'),
        ("image_size=250", "--set image_size=250: image_size = 250: must be a power of two"),
        ("fuse_depth=0", "--set fuse_depth=0: fusion_strategy"),
        ("epochs=1\nlr=2", r"--set 'epochs=1\nlr=2'"),
    ],
)
def test_a_bad_override_is_refused_by_its_own_words(tmp_path: Path, word: str, message: str) -> None:
    file = tmp_path / "good.toml"
    file.write_text("")
    with pytest.raises(SpecError) as caught:
        load_ablation(file, overrides=[word])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("word", "values"),
    [
        ("epochs=1", {"epochs": 1}),
        ("lr = 1", {"lr": 1.0}),
        ("fusion_strategy=add", {"fusion_strategy": "add"}),
        ('fusion_strategy="add"', {"fusion_strategy": "add"}),
        ("fusion_residual=true", {"fusion_residule": True}),
        ("name=5", {"name": "5"}),
        ("norm_momentum=none", {"norm_momentum": None}),
        ("lr_scheduler=none", {"lr_scheduler": None}),
        ("weights=none", {"weights": "none"}),
        ("seeds=[0, 1]", {"seeds": (0, 1)}),
        ("seed=3", {"seeds": (3,)}),
        ("multiStepLR_milestones=100", {"multiStepLR_milestones": 100}),
        ("loss_weights={loss_classifier=2}", {"loss_weights": {"loss_classifier": 2.0}}),
    ],
)
def test_an_override_reads_toml_or_plain_text(word: str, values: dict[str, object]) -> None:
    layer = parse_override(word)
    assert layer.values == values
    assert layer.word == word


def test_the_text_none_stands_for_what_toml_cannot_write(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text('[setup]\nlr_scheduler = "none"\n[grid]\nnorm_momentum = ["none", 0.1]\n')
    ablation = load_ablation(file)
    assert {member.run.setup.norm_momentum for member in ablation.members} == {None, 0.1}
    assert {member.setting for member in ablation.members} == {"norm_momentum=none", "norm_momentum=0.1"}


def test_a_file_names_its_data_and_the_phantom_s_parameters(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text('data = "../lungs"\n[phantom]\nstudies = 30\nclinical_effect = 0\n')
    parsed = parse_file(file)
    assert parsed.data == "../lungs"
    assert parsed.phantom == {"studies": 30, "clinical_effect": 0.0}


def test_a_byte_order_mark_and_windows_lines_are_read(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_bytes('\ufefftitle = "x"\r\n[setup]\r\nlr = 1e-2\r\n'.encode())
    assert load_ablation(file).members[0].run.setup.lr == 0.01


def test_missing_folder_and_bytes_are_refused_with_what_would_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ablations").mkdir()
    (tmp_path / "ablations" / "patience.toml").write_text("")
    (tmp_path / "bytes.toml").write_bytes(b'title = "a"\nx = "\xff"')
    monkeypatch.chdir(tmp_path)
    for name, message in {
        "ablations/patiense.toml": "no such file; did you mean ablations/patience.toml?",
        "patience": "no such file; did you mean ablations/patience.toml?",
        "zzz.toml": "no such file; there are ablations/patience.toml",
        "ablations": "is a folder, not an ablation file; name a file in it, such as ablations/patience.toml",
        "bytes.toml": "bytes.toml:2: is not UTF-8 text",
    }.items():
        with pytest.raises(SpecError) as caught:
            load_ablation(name)
        assert message in str(caught.value)


def test_a_setup_by_words_alone() -> None:
    assert load_setup().backbone == "mobilenet_v3"
    assert load_setup(["use_clinical=true", "epochs=3"]).use_clinical is True
    with pytest.raises(SpecError, match="--set using_fpn=true: using_fpn"):
        load_setup(["using_fpn=true"])


def test_bytes_that_are_no_text_are_refused_in_words() -> None:
    with pytest.raises(SpecError, match="is not UTF-8 text; write it in UTF-8"):
        parse_override("name=\udcff")
