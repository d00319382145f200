#!/usr/bin/env python3
"""Steps of AdamW and Muon by the papers' formulas in 60 decimal digits: `steps.py > steps.txt`.

One array per line: its name, then its elements. AdamW as torch documents it; Muon with the momentum
of its paper, a sum. No power, root or product here is that of the crate.
"""

from decimal import Decimal, getcontext

getcontext().prec = 60
LR, DECAY = Decimal(1e-2), Decimal(0.1)


def show(name, values):
    print(name, *(repr(float(v)) for v in values))


def adamw():
    beta1, beta2, eps = Decimal(0.9), Decimal(0.95), Decimal(1e-8)
    p = [Decimal(x) for x in (1.0, -0.5, 0.25, 3.0)]
    # Signs change, one gradient is 0 throughout, one vanishes beside eps.
    gradients = [(0.5, -2.0, 0.0, 1e-9), (-1.5, -0.125, 0.0, 1e-9), (0.75, 4.0, 0.0, -2e-9)]
    m, v = [Decimal(0)] * 4, [Decimal(0)] * 4
    show("adamw.parameter", p)
    for t, g in enumerate(gradients, 1):
        show(f"adamw.gradient.{t}", g)
        g = [Decimal(x) for x in g]
        m = [beta1 * a + (1 - beta1) * x for a, x in zip(m, g)]
        v = [beta2 * a + (1 - beta2) * x * x for a, x in zip(v, g)]
        m_hat = [a / (1 - beta1**t) for a in m]
        v_hat = [a / (1 - beta2**t) for a in v]
        p = [x - LR * DECAY * x for x in p]
        p = [x - LR * a / (b.sqrt() + eps) for x, a, b in zip(p, m_hat, v_hat)]
        show(f"adamw.after.{t}", p)


def product(a, b):
    return [[sum(x * y for x, y in zip(row, col)) for col in zip(*b)] for row in a]


def plus(*terms):
    """The sum of factors times matrices."""
    rows, cols = len(terms[0][1]), len(terms[0][1][0])
    return [[sum(k * m[i][j] for k, m in terms) for j in range(cols)] for i in range(rows)]


def newton_schulz(g):
    a, b, c = Decimal(3.4445), Decimal(-4.775), Decimal(2.0315)
    norm = sum(x * x for row in g for x in row).sqrt()
    x = [[v / norm for v in row] for row in g]
    for _ in range(5):
        gram = product(x, [list(col) for col in zip(*x)])
        x = plus((a, x), (b, product(gram, x)), (c, product(gram, product(gram, x))))
    return x


def muon():
    mu, w = Decimal(0.95), [[Decimal(x) for x in row] for row in ((1.0, -0.5, 0.25), (0.0, 2.0, -1.0))]
    gradients = [
        ((0.5, -1.0, 0.25), (1.5, 0.0, -0.75)),
        ((-0.25, 0.5, 2.0), (0.125, -1.0, 0.5)),
        ((1.0, 1.0, -0.5), (-2.0, 0.25, 0.75)),
    ]
    momentum = [[Decimal(0)] * 3 for _ in range(2)]
    show("muon.parameter", sum(w, []))
    for t, g in enumerate(gradients, 1):
        show(f"muon.gradient.{t}", [x for row in g for x in row])
        g = [[Decimal(x) for x in row] for row in g]
        momentum = plus((mu, momentum), (1, g))
        update = newton_schulz(plus((mu, momentum), (1, g)))
        w = plus((1 - LR * DECAY, w), (-LR * Decimal(0.2) * Decimal(3).sqrt(), update))
        show(f"muon.after.{t}", sum(w, []))


adamw()
muon()
