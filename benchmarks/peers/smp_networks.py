"""U-Net and FPN of segmentation_models_pytorch on EfficientNet-Lite0.

    pip install torch==2.13.0
    pip install segmentation-models-pytorch keras pydantic pyyaml

segmentation_models_pytorch is MIT; timm, which it uses for encoders, Apache 2.0. One network for
all modalities with one output channel for each, so that it is told the modality, as ours is.
Batches and loss are those of our own configuration: the library has no training of its own.
"""

import numpy as np
from budgeted_training import rate_factor, train_within
from lite_weights import DIVISOR, MEAN, load_into, weights_file
from peer import Peer
from peer_data import MODALITIES, SMALL_SHARE, TrainingBatches
from placed_prediction import predict_placed
from torchvision_operators import import_torchvision

ENCODER = "tu-tf_efficientnet_lite0"
WEIGHTS = "weights.pt"


class _SmpNetwork(Peer):
    licence = "segmentation_models_pytorch MIT; timm Apache 2.0"
    backend = "torch"
    modules = ("segmentation_models_pytorch", "keras", "pydantic", "yaml")
    install = "segmentation-models-pytorch keras pydantic pyyaml"
    architecture = ""
    pretrained = False
    encoder_rate = 1e-3
    frozen_norm = False

    def train(self, data, seconds, seed, folder):
        import torch

        torch.manual_seed(seed)
        network = _build(self.architecture)
        if self.pretrained:
            load_into(network.encoder.model, weights_file())
        trained = _Training(network, self.encoder_rate, self.frozen_norm)
        return train_within(seconds, folder, trained, TrainingBatches(data, seed))

    def load(self, data, folder):
        import torch

        self._network = _build(self.architecture)
        self._network.load_state_dict(torch.load(folder / WEIGHTS, weights_only=True))
        self._network.eval().to(memory_format=torch.channels_last)

    def predict(self, images, modality):
        import torch

        channel = MODALITIES.index(modality)

        def probabilities(batch):
            with torch.inference_mode():
                return torch.sigmoid(self._network(_inputs(batch))[:, channel]).numpy()

        return predict_placed(probabilities, images)

    def parameters(self):
        return sum(one.numel() for one in self._network.parameters())


class _Training:
    """The steps of a training, for `train_within`."""

    suffix = ".pt"

    def __init__(self, network, encoder_rate, frozen_norm, rate=1e-3):
        import torch

        from keras_espmedsam.losses import DiceFocalLoss

        self.network = network.to(memory_format=torch.channels_last)
        self.frozen_norm = frozen_norm
        encoder = list(network.encoder.parameters())
        known = {id(one) for one in encoder}
        others = [one for one in network.parameters() if id(one) not in known]
        self.rates = (encoder_rate, rate)
        groups = [{"params": encoder}, {"params": others}]
        self.optimizer = torch.optim.AdamW(groups, lr=rate, weight_decay=0.05)
        # With the averages of BatchNorm's statistics, and less memory of the random start.
        self.average = torch.optim.swa_utils.AveragedModel(
            network,
            multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.99),
            use_buffers=True,
        )
        self.loss = DiceFocalLoss()

    def step(self, batch, share):
        import torch

        images, modalities, masks = batch
        self.network.train()
        if self.frozen_norm and share >= SMALL_SHARE:
            for module in self.network.modules():
                if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                    module.eval().requires_grad_(False)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * rate_factor(share)
        logits = self.network(_inputs(images))
        own = logits[torch.arange(len(logits)), torch.from_numpy(modalities).long()]
        loss = self.loss(torch.from_numpy(masks), own[..., None])
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.average.update_parameters(self.network)
        return float(loss.detach())

    def save(self, path):
        import torch

        parts = (self.network, self.average, self.optimizer)
        torch.save([one.state_dict() for one in parts], path)

    def load(self, path):
        import torch

        parts = (self.network, self.average, self.optimizer)
        for part, state in zip(parts, torch.load(path, weights_only=True), strict=True):
            part.load_state_dict(state)

    def finish(self, folder):
        import torch

        torch.save(self.average.module.state_dict(), folder / WEIGHTS)


def _build(architecture):
    import_torchvision()
    import segmentation_models_pytorch as smp

    return smp.create_model(
        architecture, encoder_name=ENCODER, encoder_weights=None, classes=len(MODALITIES)
    )


def _inputs(images):
    import torch

    images = np.ascontiguousarray(images.transpose(0, 3, 1, 2), dtype="float32")
    values = torch.from_numpy((images - MEAN) / DIVISOR)
    return values.contiguous(memory_format=torch.channels_last)


_SHARED = (
    "AdamW, weight decay 0.05, half a cosine from a rate of 0.001{rates}, gradients clipped to a "
    "norm of 1, moving averages of the weights (0.99); our loss"
)


class RandomUnet(_SmpNetwork):
    title = "U-Net, Lite0, random start (smp)"
    changed = "Its decoder is smp's default; " + _SHARED.format(rates="")
    architecture = "unet"


class RandomFPN(_SmpNetwork):
    title = "FPN, Lite0, random start (smp)"
    changed = "Its decoder is smp's default; " + _SHARED.format(rates="")
    architecture = "fpn"


class _Pretrained(_SmpNetwork):
    licence = _SmpNetwork.licence + "; weights Apache 2.0, from ImageNet"
    changed = "Its decoder is smp's default; " + _SHARED.format(
        rates=" (0.0003 for the encoder), BatchNorm frozen after an eighth of the budget"
    )
    pretrained = True
    encoder_rate = 3e-4
    frozen_norm = True


class PretrainedUnet(_Pretrained):
    title = "U-Net, Lite0 from ImageNet (smp)"
    architecture = "unet"


class PretrainedFPN(_Pretrained):
    title = "FPN, Lite0 from ImageNet (smp)"
    architecture = "fpn"
