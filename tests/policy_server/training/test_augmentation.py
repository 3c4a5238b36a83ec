import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from policy_server.training.augmentation import augment, jittered, shifted
from policy_server.training.configuration import AugmentationConfig

EPISODE_OF_IMAGE = torch.tensor([0, 0, 0, 1, 1, 2])
EVERYTHING = AugmentationConfig(3, 0.3, 0.3, 0.3)


def pictures(seed: int = 0, number: int = 6) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (number, 8, 10, 3), dtype=torch.uint8, generator=generator)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_pictures_stay_as_they_are_when_nothing_is_asked_for() -> None:
    images = {"front": pictures()}
    assert augment(images, EPISODE_OF_IMAGE, AugmentationConfig(), seeded(0)) is images


def test_one_episode_is_changed_alike_and_two_differ() -> None:
    same = pictures(number=1).expand(6, -1, -1, -1)
    changed = augment({"front": same}, EPISODE_OF_IMAGE, EVERYTHING, seeded(1))["front"]
    torch.testing.assert_close(changed[0], changed[2], rtol=0, atol=0)
    torch.testing.assert_close(changed[3], changed[4], rtol=0, atol=0)
    assert not torch.equal(changed[0], changed[3]) and not torch.equal(changed[3], changed[5])


def test_the_same_seed_changes_alike_and_another_differently() -> None:
    images = {"front": pictures(), "wrist": pictures(1)}
    first, again, other = (augment(images, EPISODE_OF_IMAGE, EVERYTHING, seeded(seed)) for seed in (4, 4, 5))
    for name in images:
        torch.testing.assert_close(first[name], again[name], rtol=0, atol=0)
        assert not torch.equal(first[name], other[name])


@given(st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_changed_pictures_stay_in_range(seed: int) -> None:
    changed = augment({"front": pictures()}, EPISODE_OF_IMAGE, AugmentationConfig(2, 1.0, 1.0, 1.0), seeded(seed))
    assert changed["front"].min() >= 0 and changed["front"].max() <= 255


@given(st.integers(-3, 3), st.integers(-3, 3))
@settings(max_examples=25, deadline=None)
def test_a_shift_moves_the_picture_and_repeats_its_edge(down: int, right: int) -> None:
    picture = pictures(number=1)
    moved = shifted(picture, torch.tensor([[down, right]]))[0]
    for row in range(8):
        for column in range(10):
            source = picture[0, min(max(row - down, 0), 7), min(max(column - right, 0), 9)]
            assert torch.equal(moved[row, column], source)


def test_shifts_reach_the_asked_number_of_pixels_and_no_further() -> None:
    ramp = torch.arange(10, dtype=torch.uint8)[None, None, :, None].expand(1, 8, 10, 3)
    middles = set()
    for seed in range(60):
        moved = augment({"front": ramp}, torch.zeros(1, dtype=torch.int64), AugmentationConfig(2), seeded(seed))
        middles.add(int(moved["front"][0, 4, 5, 0]))
    assert middles == {3, 4, 5, 6, 7}


def test_factors_of_one_change_nothing() -> None:
    images = pictures().float()
    torch.testing.assert_close(jittered(images, torch.ones(6, 3)), images, rtol=0, atol=1e-3)


def test_no_saturation_is_grey_and_no_contrast_is_flat() -> None:
    grey = jittered(pictures().float(), torch.tensor([[1.0, 1.0, 0.0]]).expand(6, 3))
    assert (grey.amax(-1) - grey.amin(-1)).max() < 1e-3
    flat = jittered(pictures().float(), torch.tensor([[1.0, 0.0, 1.0]]).expand(6, 3))
    assert flat.flatten(1).std(1).max() < 1e-3
