"""Pictures through every method that reads them: what was trained is what is saved and reloaded."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flywheel.catalog import base_models
from flywheel.config import UseCase
from flywheel.config.method_specs import RECIPES
from flywheel.dataset.images import Images
from flywheel.errors import DataError
from flywheel.modeling import artifact, fingerprint, methods, model_loading
from flywheel.modeling.artifact import Artifact
from flywheel.modeling.image_processor import Preparation
from flywheel.modeling.methods import Rows, Work
from tests.examples import usual
from tests.pictures import KINDS, draw, encoded
from tests.tiny import make_tiny_efficientnet, make_tiny_vit

pytestmark = pytest.mark.model

METHODS = [name for name, recipe in RECIPES.items() if "vision" in recipe.bases]
ROWS = 12


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("vision")
    return {
        "vit": make_tiny_vit(folder / "vit"),
        "efficientnet": make_tiny_efficientnet(folder / "efficientnet"),
    }


def case_of(method: str, **settings: Any) -> UseCase:
    recipe = {"method": method, "base": "tiny", "batch_size": 4, "min_steps": 4, **settings}
    return UseCase.model_validate(
        {
            "name": "shapes",
            "kind": "image-classification",
            "description": "Dots or stripes?",
            "labels": {kind: kind for kind in KINDS},
            "split": {"salt": "s"},
            "curation": {"gold_sources": ["gold"]},
            "training": recipe,
            "gate": {"min_accuracy": 0.5},
        }
    )


def pictures(folder: Path) -> list[str]:
    images = Images(folder)
    return [images.keep(encoded(draw(KINDS[i % 2], i))) for i in range(ROWS)]


def train(case: UseCase, base: Path, folder: Path, images: Path) -> methods.Fitted:
    folder.mkdir()
    fitted = methods.method(case.training.method).train(
        Work(
            use_case=case,
            base=base,
            rows=Rows(pictures(images), [[i % 2] for i in range(ROWS)], [1.0] * ROWS),
            folder=folder,
            max_tokens=64,
            on_step=lambda *_: None,
            images=images,
        )
    )
    artifact.write(folder, Artifact(case.training.method, case.training.base))
    return fitted


@pytest.mark.parametrize("architecture", usual(["vit", "efficientnet"], "vit"))
@pytest.mark.parametrize("method", METHODS)
def test_what_is_loaded_answers_as_what_was_trained(
    method: str, architecture: str, made: dict[str, Path], tmp_path: Path
) -> None:
    case, base, images = case_of(method), made[architecture], tmp_path / "images"
    fitted = train(case, base, tmp_path / "a", images)
    asked = pictures(images)
    expected, _ = fitted.answerer.answer(asked)
    found, _ = methods.load_on(case, base, tmp_path / "a", images=images).answer(asked)
    for one, other in zip(found, expected, strict=True):
        assert list(one) == list(KINDS)
        assert one == pytest.approx(other, abs=1e-5)
    assert len({round(one["dots"], 6) for one in found}) > 1, "every picture got the same answer"


@pytest.mark.parametrize("architecture", ["vit", "efficientnet"])
@pytest.mark.parametrize("method", [name for name in METHODS if RECIPES[name].learns])
def test_the_loss_falls(
    method: str, architecture: str, made: dict[str, Path], tmp_path: Path
) -> None:
    case = case_of(method, min_steps=40, learning_rate=3e-3)
    losses = train(case, made[architecture], tmp_path / "a", tmp_path / "images").losses
    assert sum(losses[-4:]) < sum(losses[:4])


def test_only_the_adapter_and_the_head_learn_with_lora(
    made: dict[str, Path], tmp_path: Path
) -> None:
    for name, base in made.items():
        fitted: Any = train(
            case_of("encoder_lora"), base, tmp_path / name, tmp_path / "images"
        ).answerer
        before = dict(model_loading.load_plain(base, "vision").named_parameters())
        for place, weights in fitted.model.get_base_model().named_parameters():
            if "lora_" not in place:
                own = before[place.replace(".base_layer", "")]
                assert np.array_equal(own.detach().numpy(), weights.detach().numpy()), place


def test_a_data_url_is_answered_as_the_kept_picture(made: dict[str, Path], tmp_path: Path) -> None:
    case, images = case_of("full"), tmp_path / "images"
    answerer = train(case, made["vit"], tmp_path / "a", images).answerer
    photo = encoded(draw("dots", 99), "JPEG")
    url = f"data:image/jpeg;base64,{base64.b64encode(photo).decode()}"
    (kept, sent), _ = answerer.answer([Images(images).keep(photo), url])
    assert kept == pytest.approx(sent)


def test_without_a_home_no_address_is_read(made: dict[str, Path], tmp_path: Path) -> None:
    case, images = case_of("full"), tmp_path / "images"
    train(case, made["vit"], tmp_path / "a", images)
    answerer = methods.load_on(case, made["vit"], tmp_path / "a")
    with pytest.raises(DataError, match="no home"):
        answerer.answer(pictures(images))


def test_the_digest_covers_how_pictures_are_prepared(made: dict[str, Path], tmp_path: Path) -> None:
    case = case_of("full")
    train(case, made["vit"], tmp_path / "a", tmp_path / "images")
    before = fingerprint.of(case, made["vit"], tmp_path / "a").parts
    base = make_tiny_vit(tmp_path / "other")
    settings = base / base_models.PREPROCESSOR
    settings.write_text(settings.read_text().replace("0.5, 0.5, 0.5", "0.4, 0.5, 0.5"))
    after = fingerprint.of(case, base, tmp_path / "a").parts
    assert {name for name in after if after[name] != before[name]} == {"prompt"}
    assert "pillow" in after


def test_a_centre_is_cut_out_where_the_base_wants_it() -> None:
    image = draw("stripes", 1, side=64).resize((128, 64))
    cut = Preparation(32, 32, 64, (0.0,) * 3, (1.0,) * 3, resample=2).pixels(image)
    own = np.asarray(image.crop((48, 16, 80, 48)), dtype=np.float32).transpose(2, 0, 1) / 255
    assert np.allclose(cut, own, atol=1e-6)


def test_a_folder_that_says_nothing_of_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no vision base"):
        Preparation.of(tmp_path)
