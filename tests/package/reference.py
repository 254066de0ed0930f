"""Each method as its paper has it: NumPy, float64, loops, one parameter array."""

import numpy as np


def project(g, m, k, xi):
    """The published loop of Aida."""
    for _ in range(k):
        inner = np.sum((g * np.conj(m)).real)
        g, m = (
            inner / (np.sum(np.abs(g) ** 2) + xi) * g,
            inner / (np.sum(np.abs(m) ** 2) + xi) * m,
        )
    return g, m


def layer_mean(x):
    return x.mean() if x.size else 0.0


def rectification(b2, t):
    rho_inf = 2 / (1 - b2) - 1
    rho = rho_inf - 2 * t * b2**t / (1 - b2**t)
    if rho < 5:
        return None
    return np.sqrt(
        (rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho)
    )


def trajectory(
    grads,
    start,
    *,
    learning_rate,
    b1=0.9,
    b2=0.999,
    eps=0.0,
    eps_root=1e-8,
    k=0,
    xi=1e-20,
    ignore=False,
    weigh=None,
    momentum=True,
    processing=None,
    nesterov=False,
    amsgrad=False,
    rectify=False,
    degenerate_to_sgd=True,
    weight_decay=0.0,
    decay="decoupled",
):
    """Returns updates, m, s and d at every step."""
    p = np.array(start)
    m = np.zeros_like(p)
    s = d = np.zeros(() if processing == "pre" else p.shape)
    history = []
    for t, g in enumerate(grads, start=1):
        if decay == "coupled":
            g = g + weight_decay * p
        m = b1 * m + (1 - b1) * g
        if ignore:
            e = g
        elif weigh is not None:
            c = 2 * (1 - np.abs(weigh - 0.5))
            e = c * ((1 - weigh) * g - weigh * m)
        else:
            projected_g, projected_m = project(g, m, k, xi)
            e = projected_g - projected_m
        square = np.abs(e) ** 2
        if processing == "pre":
            square = layer_mean(square)
        s = b2 * s + (1 - b2) * square + eps_root
        d = np.maximum(d, s) if amsgrad else s

        m_hat = m / (1 - b1**t)
        if nesterov:
            m_hat = b1 * m / (1 - b1 ** (t + 1)) + (1 - b1) * g / (1 - b1**t)
        if not momentum:
            m_hat = g
        r = rectification(b2, t) if rectify else None
        stepsize = (
            1 / (np.sqrt(d) + eps) if rectify else 1 / (np.sqrt(d / (1 - b2**t)) + eps)
        )
        if processing == "post":
            stepsize = layer_mean(stepsize)
        if not rectify:
            u = stepsize * m_hat
        elif r is not None:
            u = r * np.sqrt(1 - b2**t) * stepsize * m_hat
        elif degenerate_to_sgd:
            u = m_hat
        else:
            u = np.zeros_like(m_hat)

        if decay == "decoupled":
            u = u + weight_decay * p
        update = -learning_rate * u
        if decay == "fixed":
            update = update - weight_decay * p
        p = p + update
        history.append((update, m, s, d))
    return tuple(np.array(x) for x in zip(*history, strict=True))
