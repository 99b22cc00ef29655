"""Image data sets: bytes, paths and tables of pixels; images that cannot be read; equal images; the pixel baseline."""

import io

import numpy as np
import pictures
import polars as pl
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from studies import study_of
from tessera.base.errors import TesseraError
from tessera.base.files import write_parquet
from tessera.examples.examples import count_examples, describe, load_examples, read_examples
from tessera.examples.images import decode
from tessera.examples.splits import assign_parts, nested, shuffled
from tessera.features.pixels import read_pixels

ROWS = 60


@pytest.fixture(scope="module")
def contents():
    return pictures.two_classes(ROWS)


@pytest.fixture
def table(contents, tmp_path):
    """A table of encoded images, and its entry in the config."""
    images, label = contents
    frame = pl.DataFrame({"img": images, "key": [f"k{i}" for i in range(ROWS)], "class": label.astype(str)})
    return frame, {"path": str(tmp_path / "set.parquet"), "image": "img", "label": "class", "id": "key"}


def read(frame, spec, **changes):
    frame.write_parquet(spec["path"])
    return load_examples("d", {**spec, **changes}, seed=0)


def fails(frame, spec, **changes):
    with pytest.raises(TesseraError) as caught:
        read(frame, spec, **changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def array(content):
    return np.asarray(decode(content))


# Reading


def test_encoded_images(table, contents):
    examples = read(*table)
    assert examples.columns == ["example", "id", "text", "label", "image", "split", "group", "near"]
    assert examples["image"].to_list() == contents[0]
    assert examples["text"].n_unique() == ROWS
    assert {"train", "test"} == set(examples["split"])
    assert read(*table).equals(examples)


def test_paths_are_relative_to_the_data_file(table, contents, tmp_path):
    frame, spec = table
    (tmp_path / "pics").mkdir()
    names = [f"pics/{row}.png" for row in range(ROWS)]
    for name, content in zip(names, contents[0], strict=True):
        (tmp_path / name).write_bytes(content)
    examples = read(frame.with_columns(img=pl.Series(names)), spec)
    assert examples.equals(read(frame, spec))
    (tmp_path / names[7]).unlink()
    message = fails(frame.with_columns(img=pl.Series(names)), spec)
    assert message.startswith("config key datasets.d.image: row 7 has an image file that is not there")


def test_images_as_the_hubs_datasets_hold_them(table, contents):
    frame, spec = table
    both = pl.DataFrame({"bytes": contents[0], "path": ["none"] * ROWS})
    examples = read(frame.with_columns(img=both.to_struct()), spec)
    assert examples.equals(read(frame, spec))


def test_a_table_of_pixels():
    """The digits of scikit-learn: no header, 64 gray pixels of 0 to 16 and the label last."""
    spec = {"path": "package:sklearn/datasets/data/digits.csv.gz", "header": False, "label": "column_64"}
    spec["pixels"] = {"height": 8, "width": 8, "maximum": 16}
    examples = load_examples("digits", spec, seed=0)
    digits = load_digits()
    assert examples["label"].to_list() == [str(label) for label in digits.target]
    for row in (0, 700, 1796):
        expected = np.rint(digits.images[row] * 255 / 16).astype(np.uint8)
        np.testing.assert_array_equal(array(examples["image"][row]), np.repeat(expected[..., None], 3, axis=2))


def test_pixels_of_columns_without_another_role(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, size=(ROWS, 6))
    frame = pl.DataFrame({f"p{i}": values[:, i] for i in range(6)})
    frame = frame.with_columns(
        label=pl.Series(np.arange(ROWS) % 2), part=pl.Series(["train", "test"] * 30).sort(descending=True)
    ).select("label", "p0", "p1", "p2", "part", "p3", "p4", "p5")
    spec = {"path": str(tmp_path / "p.parquet"), "label": "label", "split": "part"}
    spec["pixels"] = {"height": 2, "width": 3, "maximum": 255}
    examples = read(frame, spec)
    np.testing.assert_array_equal(array(examples["image"][9])[..., 0].ravel(), values[9])
    message = fails(frame.drop("p5"), spec)
    assert "datasets.d.pixels: 2 × 3 are 6 columns, but there are 5 beside label, part" in message
    message = fails(frame.with_columns(p3=pl.when(pl.col("p3") == values[4, 3]).then(300).otherwise("p3")), spec)
    assert "a pixel that is no number from 0 to 255" in message


def test_every_kind_of_image_becomes_rgb():
    base = pictures.picture(3)
    for mode in ("L", "RGBA", "P", "1", "LA", "CMYK"):
        format = "tiff" if mode == "CMYK" else "png"
        assert array(pictures.encode(base.convert(mode), format)).shape == (12, 20, 3)
    gray = array(pictures.encode(base.convert("L")))
    np.testing.assert_array_equal(gray[..., 0], np.asarray(base.convert("L")))
    np.testing.assert_array_equal(array(pictures.encode(base.convert("RGBA"))), np.asarray(base))


def test_a_photo_is_turned_upright():
    turned = Image.Exif()
    turned[0x0112] = 6
    assert decode(pictures.encode(pictures.picture(0), "jpeg", exif=turned)).size == (12, 20)


# What cannot be read


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no known format"),
        (b"GIF89a", "cannot be read"),
        (pictures.PICTURES[0][:200], "cannot be read"),
        (pictures.encode(Image.fromarray(np.full((4, 4), 40000, dtype=np.uint16))), "8 bits a channel"),
    ],
    ids=["empty", "header only", "cut", "16 bits"],
)
def test_broken_images_are_named_by_row(table, content, reason):
    frame, spec = table
    images = frame["img"].to_list()
    images[11], images[20] = content, content[:1]
    message = fails(frame.with_columns(img=pl.Series(images)), spec)
    assert message.startswith("config key datasets.d.image: row 11 has an image that cannot be read")
    assert reason in message and message.endswith("(2 such rows)")


def test_columns_that_hold_no_images(table):
    frame, spec = table
    assert "image: no column 'nope'; there: img, key, class" in fails(frame, spec, image="nope")
    assert "column 'img' holds Int64; allowed: encoded images, or paths" in fails(
        frame.with_columns(img=pl.int_range(pl.len())), spec
    )
    images = [*frame["img"][:5], None, *frame["img"][6:]]
    assert "image: row 5 has no image (1 such rows)" in fails(frame.with_columns(img=pl.Series(images)), spec)


def test_what_can_be_told_without_decoding_is_told_at_the_start(table):
    frame, spec = table
    study = study_of(datasets={"d": {**spec, "image": "nope"}}, probe={"folds": 2})
    frame.write_parquet(spec["path"])
    with pytest.raises(TesseraError, match="no column 'nope'"):
        count_examples("d", study)
    broken = frame.with_columns(img=pl.Series([b"x", *frame["img"][1:]]))
    broken.write_parquet(spec["path"])
    study.datasets["d"]["image"] = "img"
    assert count_examples("d", study) == ROWS


# Equal images


def test_equal_pixels_stay_on_one_side(table, contents):
    """The same image as PNG and as BMP, many times over; a null case: other images do go to both sides."""
    frame, spec = table
    twins = [pictures.encode(decode(content), "bmp") for content in contents[0]]
    frame = pl.concat([frame, frame.with_columns(img=pl.Series(twins), key="b" + pl.col("key"))])
    examples = read(frame, spec)
    assert examples["text"].n_unique() == examples["group"].n_unique() == ROWS
    assert examples.group_by("text").agg(pl.col("split").n_unique())["split"].max() == 1
    assert describe(examples)["texts_in_training"].to_list() == [0, 0]
    assert describe(examples)["repeated_texts"].sum() == ROWS
    assert len(shuffled(examples, 0)) == ROWS
    folds = assign_parts(examples, 3, seed=0, purpose="folds")
    assert examples.with_columns(fold=folds).group_by("text").agg(pl.col("fold").n_unique())["fold"].max() == 1
    kept = examples.filter(nested(examples, 0.5, seed=0))
    assert len(kept) == 2 * kept["text"].n_unique()
    half = frame.with_columns(part=pl.Series(["train"] * ROWS + ["test"] * ROWS))
    assert describe(read(half, spec, split="part")).filter(split="test")["texts_in_training"].to_list() == [ROWS]


def test_groups_are_joined_where_they_share_an_image(table):
    frame, spec = table
    frame = frame.with_columns(who=pl.Series([f"w{i // 2}" for i in range(ROWS)]))
    images = frame["img"].to_list()
    images[2] = images[0]  # of another group
    frame = frame.with_columns(img=pl.Series(images), **{"class": pl.Series(["a", "b"] * 30)})
    group = read(frame, spec, group="who")["group"].to_list()
    assert len(set(group[:4])) == 1
    assert len(set(group)) == ROWS // 2 - 1


def test_samples_and_shifts(table, tmp_path):
    frame, spec = table
    frame.head(20).write_parquet(tmp_path / "late.parquet")
    shifts = {"late": {"path": str(tmp_path / "late.parquet")}}
    examples = read(frame, spec, max_examples=40, shifts=shifts)
    assert examples["split"].value_counts().filter(split="late")["count"].to_list() == [20]
    assert len(examples) == 60 and examples["image"].null_count() == 0
    late = examples.filter(split="late")
    both = late.join(examples.filter(pl.col("split") != "late"), on="text", suffix="_main")
    assert len(both) and (both["group"] == both["group_main"]).all()


# Pixels


def test_pixels_of_the_same_size_are_the_image(table, contents, tmp_path):
    file = tmp_path / "examples.parquet"
    examples = read(*table)
    write_parquet(file, examples, rows=7)
    assert read_examples(file).equals(examples.drop("image"))
    expected = np.stack([array(content) for content in contents[0]]).astype(np.float32)
    np.testing.assert_array_equal(read_pixels(file, "rgb8"), expected.reshape(ROWS, -1))
    assert read_pixels(file, "gray4").shape == (ROWS, 16)
    small = Image.open(io.BytesIO(contents[0][3])).convert("L").resize((4, 4), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(read_pixels(file, "gray4")[3], np.asarray(small, dtype=np.float32).ravel())
