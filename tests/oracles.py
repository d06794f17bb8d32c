"""Dense float64 references, typed from the papers in NumPy. They share no code with gcnlab.

An adjacency is `a[target, source]`, so that row i of A X sums over the in-neighbours of node i.
"""

import numpy as np


def dense_adjacency(edge_index, num_nodes, edge_weight=None):
    """A[target, source], the weights of edges given twice added up."""
    a = np.zeros((num_nodes, num_nodes))
    for k, (source, target) in enumerate(np.asarray(edge_index, dtype=np.int64).reshape(2, -1).T):
        a[target, source] += 1.0 if edge_weight is None else float(edge_weight[k])
    return a


def a_tilde(a, self_loops="fill"):
    """Ã = A + I (Kipf & Welling 2017, eq. 2). "fill" leaves a loop that A has; "add" is literal; None adds none."""
    out = np.array(a, dtype=np.float64)
    for i in range(len(out)):
        if self_loops == "add":
            out[i, i] += 1.0
        elif self_loops == "fill" and out[i, i] == 0.0:
            out[i, i] = 1.0
    return out


def a_hat(a, self_loops="fill"):
    """Â = D̃^-1/2 Ã D̃^-1/2 with D̃_ii = sum_j Ã_ij (eq. 2); a degree of zero counts as an inverse of zero."""
    tilde = a_tilde(a, self_loops)
    out = np.zeros_like(tilde)
    degree = [sum(row) for row in tilde]
    for i in range(len(tilde)):
        for j in range(len(tilde)):
            if degree[i] > 0 and degree[j] > 0:
                out[i, j] = tilde[i, j] / (degree[i] * degree[j]) ** 0.5
    return out


def a_hat_rw(a, self_loops="fill"):
    """D̃^-1 Ã: the mean over in-neighbours."""
    tilde = a_tilde(a, self_loops)
    return np.array([row / sum(row) if sum(row) > 0 else 0 * row for row in tilde]).reshape(tilde.shape)


def laplacian(a):
    """L = I - D^-1/2 A D^-1/2 (section 2, above eq. 3)."""
    return np.identity(len(a)) - a_hat(a, self_loops=None)


def l_tilde(a, lambda_max=2.0):
    """L̃ = (2 / lambda_max) L - I (below eq. 4); lambda_max=None: the largest eigenvalue of the symmetric L."""
    lap = laplacian(a)
    if lambda_max is None:
        lambda_max = np.linalg.eigvalsh(lap)[-1]
    return 2.0 / lambda_max * lap - np.identity(len(a))


def gcn_layer(x, operator, weight, bias=None):
    """Â X W + b (eq. 2 without its activation), node by node: the node-wise form of the same sum."""
    out = np.zeros((len(operator), weight.shape[1]))
    for i in range(len(operator)):
        message = sum((operator[i, j] * x[j] for j in range(len(x))), np.zeros(x.shape[1]))
        out[i] = weight.T @ message + (0.0 if bias is None else bias)
    return out


def gcn_two_layers(x, operator, weight_0, bias_0, weight_1, bias_1):
    """Z = Â relu(Â X W0 + b0) W1 + b1 (eq. 9, before its softmax, with biases)."""
    hidden = np.maximum(operator @ x @ weight_0 + bias_0, 0.0)
    return operator @ hidden @ weight_1 + bias_1


def row_normalized(x):
    """Rows divided by their sum; a row that sums to zero stays."""
    return np.array([row / row.sum() if row.sum() != 0 else row for row in np.asarray(x, dtype=np.float64)])


def cheb_layer(x, l_tilde, weights, bias=0.0):
    """sum_k T_k(L̃) X W_k + b (Defferrard et al. 2016, equation 4), each T_k written out in powers of L̃."""
    out = np.zeros((len(x), weights[0].shape[1])) + bias
    for k, weight in enumerate(weights):
        for power, coefficient in enumerate(np.polynomial.chebyshev.cheb2poly([0.0] * k + [1.0])):
            out += coefficient * np.linalg.matrix_power(l_tilde, power) @ x @ weight
    return out


def sgc_layer(x, operator, num_hops, weight, bias=0.0):
    """Â^K X W + b (Wu et al. 2019, equation 8, before its softmax)."""
    return np.linalg.matrix_power(operator, num_hops) @ x @ weight + bias


def appnp(h, operator, num_iterations, alpha):
    """Z_K as its sum (1-α)^K Â^K H + α sum_{k<K} (1-α)^k Â^k H: what equation 4 of Gasteiger et al. 2019 unrolls to."""
    term, total = h, np.zeros_like(h)
    for k in range(num_iterations):
        total = total + alpha * (1 - alpha) ** k * term
        term = operator @ term
    return total + (1 - alpha) ** num_iterations * term


def gcn2_layer(x, x_0, operator, weight, alpha, beta):
    """((1-α) Â H + α H_0) ((1-β) I + β W) (Chen et al. 2020, equation 5, before its activation)."""
    identity = np.identity(len(weight))
    return ((1 - alpha) * operator @ x + alpha * x_0) @ ((1 - beta) * identity + beta * weight)


def sage_layer(x, neighbours, root_weight, weight, bias=0.0):
    """W [h_i, n_i] of each node, n_i its aggregated neighbours (Hamilton et al. 2017, algorithm 1, line 5)."""
    stacked = np.concatenate([root_weight, weight])
    return np.concatenate([x, neighbours], 1) @ stacked + bias


def neighbour_max(x, operator):
    """The largest x_j, feature by feature, over the j with an entry (i, j); 0 where there is none."""
    out = np.zeros((len(operator), x.shape[1]))
    for i, row in enumerate(operator):
        if row.any():
            out[i] = x[row != 0].max(0)
    return out


def gin_layer(x, a, eps, weight_1, bias_1, weight_2, bias_2):
    """MLP((1 + ε) h_i + sum_j a_ij h_j), an MLP of two layers (Xu et al. 2019, equation 4.1)."""
    out = np.zeros((len(x), weight_2.shape[1]))
    for i in range(len(x)):
        message = (1 + eps) * x[i] + sum((a[i, j] * x[j] for j in range(len(x))), np.zeros(x.shape[1]))
        out[i] = np.maximum(message @ weight_1 + bias_1, 0.0) @ weight_2 + bias_2
    return out


def gat_head(x, a_tilde, weight, source, target, negative_slope=0.2):
    """sum_j α_ij W h_j of one head, α the softmax over the j with an entry (i, j) (Veličković et al. 2018, eqs. 1, 3)."""
    h = x @ weight
    out = np.zeros_like(h)
    for i in range(len(x)):
        neighbours = [j for j in range(len(x)) if a_tilde[i, j] != 0]
        if neighbours:
            score = np.array([np.concatenate([target, source]) @ np.concatenate([h[i], h[j]]) for j in neighbours])
            score = np.where(score > 0, score, negative_slope * score)
            share = np.exp(score - score.max()) / np.exp(score - score.max()).sum()
            out[i] = sum(share[n] * h[j] for n, j in enumerate(neighbours))
    return out
