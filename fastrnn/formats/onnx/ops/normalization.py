"""Operators that normalise."""

import numpy as np

from .registry import axis_of, operator


def moments(x, axes):
    """(x - mean, variance), over axes that stay."""
    centred = x - np.mean(x, axes, keepdims=True)
    return centred, np.mean(np.square(centred), axes, keepdims=True)


@operator("LayerNormalization", 2, 3, outputs=3)
def build_layer_normalization(node, infos):
    """Ba et al. 2016, over all axes from `axis` on."""
    axis, eps = node.int("axis", -1), np.float32(node.float("epsilon", 1e-5))
    node.int("stash_type", 1)

    def call(x, scale, bias=None):
        axes = tuple(range(axis_of(axis, x.ndim, node.where), x.ndim))
        wide = x.astype(np.float32, copy=False) if x.dtype == np.float16 else x
        mean = np.mean(wide, axes, keepdims=True)
        centred = wide - mean
        rstd = 1 / np.sqrt(np.mean(np.square(centred), axes, keepdims=True) + eps)
        y = (centred * rstd).astype(x.dtype, copy=False) * scale
        return y if bias is None else y + bias, mean, rstd
    return call


@operator("RMSNormalization", 2)
def build_rms_normalization(node, infos):
    """Zhang and Sennrich 2019."""
    axis, eps = node.int("axis", -1), np.float32(node.float("epsilon", 1e-5))
    node.int("stash_type", 1)

    def call(x, scale):
        axes = tuple(range(axis_of(axis, x.ndim, node.where), x.ndim))
        wide = x.astype(np.float32, copy=False) if x.dtype == np.float16 else x
        return (wide / np.sqrt(np.mean(np.square(wide), axes, keepdims=True) + eps)).astype(x.dtype, copy=False) * scale
    return call


def per_channel(vector, ndim):
    """A vector over axis 1 of `ndim` axes."""
    return vector.reshape(-1, *(1,) * (ndim - 2))


@operator("BatchNormalization", 5, outputs=5)
def build_batch_normalization(node, infos):
    """Ioffe and Szegedy 2015, in inference."""
    eps = np.float32(node.float("epsilon", 1e-5))
    node.float("momentum", 0.9), node.int("spatial", 1, 1, 1) if node.version < 9 else None
    if node.flag("training_mode") or len([name for name in node.outputs if name]) > 1:
        raise ValueError(f"{node.where}: training_mode: expected inference with one output, found training")

    def factors(scale, bias, mean, variance):
        factor = scale / np.sqrt(variance + eps)
        return factor, bias - mean * factor

    if all(info.known is not None for info in infos[1:5]):
        fixed = factors(*(info.known for info in infos[1:5]))

        def ready(x, *_):
            factor, shift = fixed
            return ((x * per_channel(factor, x.ndim) + per_channel(shift, x.ndim)).astype(x.dtype, copy=False),)
        return ready

    def call(x, *vectors):
        factor, shift = factors(*vectors)
        return ((x * per_channel(factor, x.ndim) + per_channel(shift, x.ndim)).astype(x.dtype, copy=False),)
    return call


@operator("InstanceNormalization", 3)
def build_instance_normalization(node, infos):
    eps = np.float32(node.float("epsilon", 1e-5))

    def call(x, scale, bias):
        centred, variance = moments(x, tuple(range(2, x.ndim)))
        return (centred / np.sqrt(variance + x.dtype.type(eps))) * per_channel(scale, x.ndim) + per_channel(bias,
                                                                                                            x.ndim)
    return call


@operator("GroupNormalization", 3, since=21)
def build_group_normalization(node, infos):
    """Wu and He 2018."""
    eps, groups = np.float32(node.float("epsilon", 1e-5)), node.int("num_groups", 1, 1)
    node.int("stash_type", 1)

    def call(x, scale, bias):
        if x.shape[1] % groups:
            raise ValueError(f"{node.where}: expected channels in {groups} groups, found {x.shape[1]}")
        grouped = x.reshape(x.shape[0], groups, -1)
        centred, variance = moments(grouped, (2,))
        y = (centred / np.sqrt(variance + x.dtype.type(eps))).reshape(x.shape)
        return y * per_channel(scale, x.ndim) + per_channel(bias, x.ndim)
    return call


@operator("MeanVarianceNormalization", since=9)
def build_mean_variance_normalization(node, infos):
    axes = node.ints("axes", (0, 2, 3))

    def call(x):
        centred, variance = moments(x, tuple(axis_of(axis, x.ndim, node.where) for axis in axes))
        return centred / (np.sqrt(variance) + x.dtype.type(1e-9))
    return call


@operator("LpNormalization")
def build_lp_normalization(node, infos):
    axis, p = node.int("axis", -1), node.int("p", 2, 1, 2)

    def call(x):
        norm = np.linalg.norm(x, p, axis_of(axis, x.ndim, node.where), keepdims=True).astype(x.dtype)
        return np.divide(x, norm, out=np.zeros_like(x), where=norm != 0)
    return call
