"""The products of a joint as Triton kernels. Whoever imports this module needs Triton; `launch.py` calls what is here.

A program makes a tile of the result, transposed: rows of a weight by rows of the input. Hopper's tensor cores take 64
rows of the left factor and any eight of the right one, so few rows of the input waste little, and a weight that is
widened goes from registers straight into the product. x Aᵀ is made along the way, of the same x: each program makes
what its own tile takes of it.

Where the tiles are fewer than a GPU's units, several programs share the sum of one. Each leaves its part in memory, and
whichever comes last adds them all up in their order. So results are the same each time, to the bit. The only atomic
operation counts those that are done.

In shapes N is the rows of the input, I its columns, L the joined layers, o the outputs of one and r its rank; O = L·o.
G is the outputs beside them, which have no A and B. Their rows are W's last, and there may be none.
ROWS, SIDE and DEPTH are a tile's: of N, of the result's other axis, and of the axis that is summed over. RANKS is r as
a power of two.
"""

import triton
import triton.language as tl


@triton.jit
def _widened(w, dtype: tl.constexpr, E4M3: tl.constexpr):
    """Return stored values in the type that is multiplied in. Those of e4m3 come as 1/256 of what they are."""
    if E4M3:  # its bits, moved to their places in fp16, whose exponents count from 8 less; older cards lack the type
        bits = w.to(tl.uint16)
        return (((bits & 0x80) << 8) | ((bits & 0x7F) << 7)).to(tl.float16, bitcast=True).to(dtype)
    return w.to(dtype)


@triton.jit
def _scales(scale, o, here, E4M3: tl.constexpr):
    """Return the scales of some rows, for what `_widened` returns."""
    values = tl.load(scale + o, mask=here, other=0.0).to(tl.float32)
    return values * 256 if E4M3 else values


@triton.jit
def _is_last(done, tile, parts):
    """Say whether all other parts of a tile are in memory, once this one is. The counter is then at 0 again."""
    tl.debug_barrier()
    last = tl.atomic_add(done + tile, 1, sem="acq_rel", scope="gpu") == parts - 1
    if last:
        tl.store(done + tile, 0)
    return last


@triton.jit
def _sum(sums, offsets, parts, stride, like):
    """Return the sum of a tile's parts, in fp32 and in their order."""
    total = tl.zeros_like(like)
    for part in range(parts):
        # What other units wrote is in the second cache.
        total += tl.load(sums + part * stride + offsets, cache_modifier=".cg")
    return total


@triton.jit
def outputs(
    x, w, scale, a, b, bias, out, low, sums, done,
    rows, inputs, outputs, beside, layers, parts, x_row, w_row, a_row, b_row, out_row, low_row,
    RANK: tl.constexpr, RANKS: tl.constexpr, SCALED: tl.constexpr, E4M3: tl.constexpr, EVEN: tl.constexpr,
    SHARED: tl.constexpr, ROWS: tl.constexpr, SIDE: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """x Wᵀ + bias + (x Aᵀ) Bᵀ into out (N, O + G), and x Aᵀ into low (N, L·r).

    The grid is (tiles, parts), and G has the last tiles. w: (O + G, I). a: (L·r, I). b: (O, L·r), of which a layer's
    own rows and ranks count.
    outputs: o. beside: G, at most o. EVEN: whether DEPTH divides I. SHARED: whether there are several parts.
    """
    tile, part = tl.program_id(0), tl.program_id(1)
    row_tiles, side_tiles = tl.cdiv(rows, ROWS), tl.cdiv(outputs, SIDE)
    # Neighbours have the same rows of W, so that these come from memory once.
    side, layer = tile // row_tiles % side_tiles, tile // row_tiles // side_tiles
    in_rows, in_side, r = tl.arange(0, ROWS), tl.arange(0, SIDE), tl.arange(0, RANKS)
    n = (tile % row_tiles * ROWS + in_rows).to(tl.int64)
    o = side * SIDE + in_side
    has_n = n < rows
    has_o = o < tl.where(layer < layers, outputs, beside)
    has_r = r < tl.where(layer < layers, RANK, 0)
    o += layer * outputs
    rank = layer * RANK + r
    steps = tl.cdiv(inputs, DEPTH)
    acc = tl.zeros((SIDE, ROWS), tl.float32)
    x_a = tl.zeros((RANKS, ROWS), tl.float32)
    for step in range(part * steps // parts, (part + 1) * steps // parts):
        k = step * DEPTH + tl.arange(0, DEPTH)
        has_k = (k < inputs) | EVEN
        x_t = tl.load(x + n[None, :] * x_row + k[:, None], mask=has_k[:, None] & has_n[None, :], other=0.0)
        w_t = tl.load(w + o[:, None] * w_row + k[None, :], mask=has_o[:, None] & has_k[None, :], other=0)
        a_t = tl.load(a + rank[:, None] * a_row + k[None, :], mask=has_r[:, None] & has_k[None, :], other=0.0)
        acc = tl.dot(_widened(w_t, x_t.dtype, E4M3), x_t, acc, input_precision="tf32x3")  # (SIDE, DEPTH) (DEPTH, ROWS)
        x_a = tl.dot(a_t, x_t, x_a, input_precision="tf32x3")  # (RANKS, DEPTH) (DEPTH, ROWS)
    if SCALED:
        acc *= _scales(scale, o, has_o, E4M3)[:, None]
    b_t = tl.load(b + o[:, None] * b_row + rank[None, :], mask=has_o[:, None] & has_r[None, :], other=0.0)
    acc = tl.dot(b_t, x_a.to(b_t.dtype), acc, input_precision="tf32x3")  # (SIDE, RANKS) (RANKS, ROWS)
    whole = True
    if SHARED:
        stride = (SIDE + RANKS) * ROWS
        mine = sums + tile.to(tl.int64) * parts * stride
        place, low_place = in_side[:, None] * ROWS + in_rows[None, :], (SIDE + r)[:, None] * ROWS + in_rows[None, :]
        tl.store(mine + part * stride + place, acc)
        if side == 0:
            tl.store(mine + part * stride + low_place, x_a)
        whole = _is_last(done, tile, parts)
        if whole:
            acc = _sum(mine, place, parts, stride, acc)
            if side == 0:
                x_a = _sum(mine, low_place, parts, stride, x_a)
    if whole:
        acc += tl.load(bias + o, mask=has_o, other=0.0).to(tl.float32)[:, None]
        tl.store(
            out + n[None, :] * out_row + o[:, None], acc.to(out.dtype.element_ty), mask=has_o[:, None] & has_n[None, :]
        )
        if side == 0:
            where = low + n[None, :] * low_row + rank[:, None]
            tl.store(where, x_a.to(low.dtype.element_ty), mask=has_r[:, None] & has_n[None, :])


@triton.jit
def input_gradients(
    g, w, scale, a, b, out, low, sums, done,
    rows, inputs, outputs, beside, layers, parts, g_row, w_row, a_row, b_row, out_row, low_row,
    RANK: tl.constexpr, RANKS: tl.constexpr, SCALED: tl.constexpr, E4M3: tl.constexpr, EVEN: tl.constexpr,
    SHARED: tl.constexpr, BESIDE: tl.constexpr, ROWS: tl.constexpr, SIDE: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """g W + (g B) A into out (N, I), and g B into low (N, L·r), for g (N, O + G). The rest is as in `outputs`.

    EVEN: whether DEPTH divides o. BESIDE: whether there is a G.
    """
    tile, part = tl.program_id(0), tl.program_id(1)
    row_tiles = tl.cdiv(rows, ROWS)
    side = tile // row_tiles
    in_rows, in_side, r = tl.arange(0, ROWS), tl.arange(0, SIDE), tl.arange(0, RANKS)
    n = (tile % row_tiles * ROWS + in_rows).to(tl.int64)
    i = side * SIDE + in_side
    has_n, has_i, has_r = n < rows, i < inputs, r < RANK
    steps = tl.cdiv(outputs, DEPTH)  # of a layer; a part has some of all layers' steps, and of those of G
    all_steps = steps * layers + tl.cdiv(beside, DEPTH)
    first, last = part * all_steps // parts, (part + 1) * all_steps // parts
    stride = (SIDE + layers * RANKS) * ROWS
    mine = sums + tile.to(tl.int64) * parts * stride
    low_place = (SIDE + r)[:, None] * ROWS + in_rows[None, :]
    acc = tl.zeros((SIDE, ROWS), tl.float32)
    for layer in range(layers):
        rank = layer * RANK + r
        g_b = tl.zeros((RANKS, ROWS), tl.float32)
        begin, end = tl.maximum(first - layer * steps, 0), tl.minimum(last - layer * steps, steps)
        for step in range(begin, end):
            k = step * DEPTH + tl.arange(0, DEPTH)
            has_k = (k < outputs) | EVEN
            k += layer * outputs
            g_t = tl.load(g + n[None, :] * g_row + k[:, None], mask=has_k[:, None] & has_n[None, :], other=0.0)
            w_t = tl.load(w + k[None, :] * w_row + i[:, None], mask=has_i[:, None] & has_k[None, :], other=0)
            b_t = tl.load(b + k[None, :] * b_row + rank[:, None], mask=has_r[:, None] & has_k[None, :], other=0.0)
            g_b = tl.dot(b_t, g_t, g_b, input_precision="tf32x3")  # (RANKS, DEPTH) (DEPTH, ROWS)
            if SCALED:
                g_t = (g_t * _scales(scale, k, has_k, E4M3)[:, None]).to(g_t.dtype)
            acc = tl.dot(_widened(w_t, g_t.dtype, E4M3), g_t, acc, input_precision="tf32x3")
        a_t = tl.load(a + rank[None, :] * a_row + i[:, None], mask=has_i[:, None] & has_r[None, :], other=0.0)
        acc = tl.dot(a_t, g_b.to(a_t.dtype), acc, input_precision="tf32x3")  # (SIDE, RANKS) (RANKS, ROWS)
        if side == 0:
            if SHARED:
                tl.store(mine + part * stride + layer * RANKS * ROWS + low_place, g_b)
            else:
                where = low + n[None, :] * low_row + rank[:, None]
                tl.store(where, g_b.to(low.dtype.element_ty), mask=has_r[:, None] & has_n[None, :])
    if BESIDE:  # a G has weights that are not scaled
        for step in range(tl.maximum(first - layers * steps, 0), tl.maximum(last - layers * steps, 0)):
            k = step * DEPTH + tl.arange(0, DEPTH)
            has_k = k < beside
            k += layers * outputs
            g_t = tl.load(g + n[None, :] * g_row + k[:, None], mask=has_k[:, None] & has_n[None, :], other=0.0)
            w_t = tl.load(w + k[None, :] * w_row + i[:, None], mask=has_i[:, None] & has_k[None, :], other=0.0)
            acc = tl.dot(w_t, g_t, acc, input_precision="tf32x3")  # (SIDE, DEPTH) (DEPTH, ROWS)
    whole = True
    if SHARED:
        place = in_side[:, None] * ROWS + in_rows[None, :]
        tl.store(mine + part * stride + place, acc)
        whole = _is_last(done, tile, parts)
        if whole:
            acc = _sum(mine, place, parts, stride, acc)
            if side == 0:
                for layer in range(layers):
                    g_b = _sum(
                        mine + layer * RANKS * ROWS, low_place, parts, stride, tl.zeros((RANKS, ROWS), tl.float32)
                    )
                    where = low + n[None, :] * low_row + (layer * RANK + r)[:, None]
                    tl.store(where, g_b.to(low.dtype.element_ty), mask=has_r[:, None] & has_n[None, :])
    if whole:
        where = out + n[None, :] * out_row + i[:, None]
        tl.store(where, acc.to(out.dtype.element_ty), mask=has_i[:, None] & has_n[None, :])


@triton.jit
def on_top(
    x, frozen, a, b, out, low,
    rows, inputs, outputs, shares, x_row, frozen_row, a_row, b_row, out_row, low_row,
    RANK: tl.constexpr, RANKS: tl.constexpr, EVEN: tl.constexpr,
    ROWS: tl.constexpr, SIDE: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """frozen + (x Aᵀ) Bᵀ into out (N, O), and x Aᵀ into low (N, L·r), for frozen (N, O). The rest is as in `outputs`.

    The grid is (tiles of N, L, shares): a program makes x Aᵀ of its rows and layer, and its share of the tiles of o.
    """
    layer, share = tl.program_id(1), tl.program_id(2)
    n = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)
    r = tl.arange(0, RANKS)
    has_n, has_r = n < rows, r < RANK
    rank = layer * RANK + r
    x_a = tl.zeros((RANKS, ROWS), tl.float32)
    for step in range(tl.cdiv(inputs, DEPTH)):
        k = step * DEPTH + tl.arange(0, DEPTH)
        has_k = (k < inputs) | EVEN
        x_t = tl.load(x + n[None, :] * x_row + k[:, None], mask=has_k[:, None] & has_n[None, :], other=0.0)
        a_t = tl.load(a + rank[:, None] * a_row + k[None, :], mask=has_r[:, None] & has_k[None, :], other=0.0)
        x_a = tl.dot(a_t, x_t, x_a, input_precision="tf32x3")  # (RANKS, DEPTH) (DEPTH, ROWS)
    narrow = x_a.to(b.dtype.element_ty)
    if share == 0:
        where = low + n[None, :] * low_row + rank[:, None]
        tl.store(where, narrow.to(low.dtype.element_ty), mask=has_r[:, None] & has_n[None, :])
    for side in range(share, tl.cdiv(outputs, SIDE), shares):
        o = side * SIDE + tl.arange(0, SIDE)
        has_o = o < outputs
        o += layer * outputs
        here = has_o[:, None] & has_n[None, :]
        b_t = tl.load(b + o[:, None] * b_row + rank[None, :], mask=has_o[:, None] & has_r[None, :], other=0.0)
        acc = tl.load(frozen + n[None, :] * frozen_row + o[:, None], mask=here, other=0.0).to(tl.float32)
        acc = tl.dot(b_t, narrow, acc, input_precision="tf32x3")  # (SIDE, RANKS) (RANKS, ROWS)
        tl.store(out + n[None, :] * out_row + o[:, None], acc.to(out.dtype.element_ty), mask=here)
