"""Why each operator of a run is deterministic on a CUDA device: one by one, for those that were seen.

From the documentation of `torch.use_deterministic_algorithms` (what it switches, what it refuses) and, where that says
nothing, from the kernels of PyTorch (aten/src/ATen/native/cuda).
"""

VIEW = "computes nothing: another view of the same memory"
MAKES = "makes a tensor, or fills it with given values: each element is written by one thread"
COPIES = "copies elements, each written by one thread"
ELEMENTWISE = "elementwise: each element by one thread, from its own operands"
SUM = (
    "a tree that depends on the shape alone; the blocks' parts lie in memory and are added in order, not by atomic adds"
)
ROWS = "a row by one block, the parts of its threads added in a fixed order"
PRODUCT = (
    "cuBLAS with CUBLAS_WORKSPACE_CONFIG=:4096:8: one workspace and one order of sums; torch refuses it without that"
)
CONVOLUTION = (
    "documented as switched: cuDNN's deterministic algorithms alone; none is picked by its time (benchmark off)"
)
MAX_POOL = (
    "the gradient gathers: the thread of an input place adds, in order, the outputs that chose it; torch refuses the "
    "adaptive and fractional forms alone"
)
AVERAGE_POOL = (
    "the gradient gathers: the thread of an input place adds the windows over it in order; torch refuses the "
    "three-dimensional form alone"
)
NLL = (
    "the losses of a batch are summed by one block in a fixed tree, the gradient of a row is one element; torch "
    "refuses the two-dimensional form alone"
)
COLUMNS = "written to do without atomic adds: the thread of an input place adds its windows in order"
GATHERS = "reads at the given places, each result by one thread; no gradient goes through it"
ARGUMENT = "a fixed tree; of equal values the lowest index wins"
DRAWS = "Philox: a function of the generator's seed and offset, which every layer, epoch and step sets anew"
CPU_DRAWS = "on the CPU in every run, from a generator of its own, one thread"
CPU_SORTS = "on the CPU in every run (evaluation's ranks and neighbours); the sort is stable"

REASONS: dict[str, str] = {
    f"aten.{name}": why
    for why, names in (
        (
            VIEW,
            "_unsafe_view alias detach expand lift_fresh permute select.int set_.source_Storage slice.Tensor "
            "split.Tensor squeeze.dim t transpose.int unsqueeze view view.dtype",
        ),
        (MAKES, "arange empty.memory_format empty_like fill_.Scalar full ones_like zeros zeros_like"),
        (COPIES, "_local_scalar_dense _to_copy cat clone constant_pad_nd copy_ flip stack"),
        (
            ELEMENTWISE,
            "abs add.Tensor add_.Tensor clamp div.Tensor div_.Tensor eq.Tensor exp floor_divide ge.Scalar log "
            "mul.Tensor mul_.Tensor ne.Scalar ne.Tensor neg relu rsqrt rsub.Scalar sqrt sub.Tensor sub_.Tensor tanh "
            "tanh_backward threshold_backward where.self",
        ),
        (SUM, "all all.dim mean mean.dim sum sum.dim_IntList"),
        (ROWS, "_log_softmax _log_softmax_backward_data _softmax"),
        (PRODUCT, "addmm baddbmm bmm mm"),
        (CONVOLUTION, "convolution convolution_backward"),
        (MAX_POOL, "max_pool2d_with_indices max_pool2d_with_indices_backward"),
        (AVERAGE_POOL, "avg_pool2d avg_pool2d_backward"),
        (NLL, "nll_loss_forward nll_loss_backward"),
        (COLUMNS, "col2im im2col"),
        (GATHERS, "gather index.Tensor"),
        (ARGUMENT, "argmax"),
        (DRAWS, "rand.generator"),
        (CPU_DRAWS, "normal_ randint.generator randn.generator randperm.generator uniform_"),
        (CPU_SORTS, "sort.stable topk"),
    )
    for name in names.split()
}
"""Operator, without `.default`, to its reason."""


def reason(operator: str) -> str:
    """Why an operator (`aten.add.Tensor`) is deterministic; empty for one that nobody has looked at."""
    return REASONS.get(operator.removesuffix(".default"), "")
