import pytest
import torch

from policy_server.model.encoder import EncoderConfig, ObservationEncoder, SpatialSoftmax
from policy_server.runtime.manifest import CameraSpec

CAMERAS = (CameraSpec("front", 20, 24, (0, 0, 20, 24), 20, 24), CameraSpec("wrist", 17, 9, (0, 0, 17, 9), 17, 9))
HEADS = ("flatten", "spatial_softmax", "pooled")


def pictures(batch: int = 2) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        c.name: torch.randint(0, 256, (batch, c.height, c.width, 3), generator=generator, dtype=torch.uint8)
        for c in CAMERAS
    }


def encoder(head: str) -> ObservationEncoder:
    torch.manual_seed(0)
    return ObservationEncoder(CAMERAS, EncoderConfig((8, 16), 5, head)).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("head", HEADS)
def test_cameras_of_any_size_give_one_embedding_in_the_order_of_the_spec(head: str) -> None:
    model, images = encoder(head), pictures()
    embedding = model(images)
    assert embedding.shape == (2, model.embedding_dim) == (2, 10)
    images["wrist"] = 255 - images["wrist"]
    changed = model(images)
    assert torch.equal(changed[:, :5], embedding[:, :5])
    assert (changed[:, 5:] != embedding[:, 5:]).any()


@pytest.mark.parametrize("head", HEADS)
def test_frames_of_a_batch_do_not_mix(head: str) -> None:
    model, images = encoder(head), pictures(3)
    together = model(images)
    for i in range(3):
        alone = model({name: image[i : i + 1] for name, image in images.items()})
        torch.testing.assert_close(alone[0], together[i], rtol=1e-4, atol=1e-5)


def test_spatial_softmax_says_where_a_channel_is_strongest() -> None:
    features = torch.zeros(1, 2, 3, 5)
    features[0, 0, 0, 4] = 50.0  # top right
    features[0, 1, 2, 2] = 50.0  # bottom middle
    torch.testing.assert_close(SpatialSoftmax()(features), torch.tensor([[1.0, 0.0, -1.0, 1.0]]))


def test_pooled_and_spatial_softmax_do_not_grow_with_the_picture() -> None:
    def parameters(head: str, pixels: int) -> int:
        camera = CameraSpec("front", pixels, pixels, (0, 0, pixels, pixels), pixels, pixels)
        model = ObservationEncoder((camera,), EncoderConfig((8, 16), 5, head))  # type: ignore[arg-type]
        return sum(parameter.numel() for parameter in model.parameters())

    assert parameters("pooled", 16) == parameters("pooled", 64)
    assert parameters("spatial_softmax", 16) == parameters("spatial_softmax", 64)
    assert parameters("flatten", 16) < parameters("flatten", 64)


def test_more_blocks_per_stage_deepen_the_network_and_leave_the_map_as_it_is() -> None:
    images = pictures()
    shallow, deep = (ObservationEncoder(CAMERAS, EncoderConfig((8, 16, 16), 5, "flatten", blocks)) for blocks in (1, 2))
    assert deep(images).shape == shallow(images).shape
    blocks = [len(list(model.encoders[0].blocks.children())) for model in (shallow, deep)]
    assert blocks == [2, 4]


def test_a_resnet_18_is_among_the_sizes() -> None:
    camera = CameraSpec("front", 96, 96, (0, 0, 96, 96), 96, 96)
    config = EncoderConfig((64, 64, 128, 256, 512), 64, "pooled", 2)
    parameters = sum(each.numel() for each in ObservationEncoder((camera,), config).parameters())
    assert 0.95 < parameters / 11.2e6 < 1.05  # torchvision's without its last layer
