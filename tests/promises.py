"""What gcnlab promises of files, inputs, training and processes, and the tests that hold it to each promise.

A promise is (what the user gives or what goes wrong, what gcnlab does, the tests). `conftest.py` marks these tests, so
that `pytest -m promise` runs them all, and fails where one of them does not exist. `docs/reliability.md` is made of it.
"""

from typing import NamedTuple


class Promise(NamedTuple):
    given: str
    kept: str
    tests: str  # "file: test test ...", more files after ";"


PROMISES = {
    # -- files
    "F1": Promise(
        "a pickle that names any global outside the few that arrays need",
        "`UnsafeFileError(file, global)`; its code never runs, and no switch allows it",
        "data: no_pickle_runs_code the_payloads_would_run admitted_globals_are_a_known_list hostile_pickles_fail_without_harm; "
        "reliability: code_runs_at_no_door nothing_in_the_tree_opens_what_could_run_code",
    ),
    "F2": Promise(
        "a known file with other bytes",
        "`ChecksumError(file, expected, found)` before it is opened; a path of one's own needs no hash, and meets every other check",
        "data: damaged_file_of_a_named_set_is_refused_unread damaged_file_of_one_s_own_is_read_or_refused; "
        "image_data: bytes_of_a_named_set_are_compared every_damage_of_a_named_set_is_found idx_damage; "
        "collections: every_damage_of_a_named_set_is_found damaged_tu damaged_gin_text_npz_and_tables damaged_arrays_within_an_npz",
    ),
    "F3": Promise(
        "a download cut short, an HTML page, 404, a certificate that does not hold",
        "an error; nothing under the final name; the next call downloads again",
        "data: failed_download_leaves_nothing download download_is_off_or_impossible connection_gives_up_in_time "
        "a_certificate_that_nobody_signed_is_refused kill_while_downloading",
    ),
    "F4": Promise(
        "an archive with members outside of it, or more bytes than its data set states",
        "`DatasetFormatError`; nothing is written",
        "collections: zip_members_outside zip_bombs_and_damage named_set_keeps_to_its_stated_size; "
        "image_data: small_file_that_unpacks_to_much; ogb: small_file_that_unpacks_to_much",
    ),
    "F5": Promise(
        "a last line without a newline",
        "read like any other; line counts are compared between files",
        "data: last_line_without_newline_and_crlf; collections: tu_last_line_without_newline_and_crlf malformed_tu",
    ),
    "F6": Promise(
        "Planetoid: ids that are negative, too large or no integers, row counts that disagree, keys missing",
        "`DatasetFormatError(file, key, value)`",
        "data: malformed_files",
    ),
    "F7": Promise(
        "CiteSeer's 15 absent nodes",
        "kept as nodes, label -1, in no mask of any split",
        "data: absent_nodes_are_in_no_mask real_sets",
    ),
    "F8": Promise(
        "TU: an edge between graphs, an indicator that skips, ids out of range, labels that disagree, NaN",
        "`DatasetFormatError(file, line)`; a graph without edges keeps its nodes and label",
        "collections: malformed_tu tu_folder_and_zips missing_tu_files",
    ),
    "F9": Promise(
        "idx: wrong magic, type code, sizes, byte count; images and labels of different number; a label > 9 in a ten-class set",
        "`DatasetFormatError`; files are hashed after unpacking, too",
        "image_data: malformed_idx_files idx_damage idx_by_name bytes_of_a_named_set_are_compared",
    ),
    "F10": Promise(
        "kill -9 while a data set is processed",
        "the next run works; never an unreadable file; stale temporaries are removed",
        "data: kill_while_processing; files: kill_while_writing_leaves_the_old_or_the_new_file "
        "stale_temporaries_go_and_living_ones_stay; storage: a_killed_save_is_no_graph_and_can_be_saved_again; "
        "collections: kill_while_unpacking",
    ),
    "F11": Promise(
        "several processes on one data root",
        "all succeed, one processes, the others wait and say so every 10 s",
        "data: processes_share_one_root; files: lock_waits_for_a_process_and_says_so lock_of_a_killed_process_is_free "
        "lock_excludes_threads writers_of_one_path_do_not_meet",
    ),
    "F12": Promise(
        "a raw file, the format or a reader's options changed",
        "processed again: the key is a hash of raw bytes and version; what a function makes is never kept on disk",
        "data: changed_raw_file_or_format_is_processed_again second_time_reads_the_processed_form_alone",
    ),
    "F13": Promise(
        "a processed file or checkpoint that needs code",
        "refused; there is no fallback",
        "checkpoint: code_in_a_checkpoint_never_runs load_model_makes_only_its_own_classes; storage: pickles_are_not_opened; "
        "data: damaged_processed_form_is_announced_and_made_again; reliability: code_runs_at_no_door",
    ),
    # -- inputs
    "I1": Promise(
        "`edge_index` that is no tensor, array or list of integers, or of float, bool, uint8",
        "TypeError that names the type and the remedy; when empty, too",
        "inputs: edges_of_a_wrong_dtype edges_of_a_wrong_kind generated_inputs",
    ),
    "I2": Promise(
        "`edge_index` of shape (2,), (E, 2), (1, 2, E), (3, E)",
        "ValueError with the shape and a hint at `.t().contiguous()`; (2, 2) cannot be told, and is documented",
        "inputs: edges_of_a_wrong_shape",
    ),
    "I3": Promise(
        "a node id < 0 or >= N",
        "ValueError: first position, value, N",
        "inputs: ids_out_of_range negative_ids_when_n_comes_from_the_ids num_nodes shape receptive_field",
    ),
    "I4": Promise(
        "ids of int32 or int16",
        "int64 at the door; equal results at N = 100,000",
        "graph: small_integers_are_int64_at_scale; sparse: index_dtype_at_the_limit",
    ),
    "I5": Promise(
        "a sparse adjacency that is invalid or not N x N",
        "ValueError; never a crash",
        "inputs: bad_matrices adjacency_that_is_not_square adjacency_of_a_wrong_kind",
    ),
    "I6": Promise(
        "`edge_weight` of a wrong length or shape, complex, NaN, infinite",
        "ValueError; integers and float64 take the dtype of x",
        "inputs: weights weights_that_are_not_tensors; graph: weights_take_the_dtype_of_the_features",
    ),
    "I7": Promise(
        "negative weights that make a degree <= 0 under a normalisation",
        "ValueError that names the node; never NaN",
        "inputs: negative_degrees_at_every_door; graph: negative_degrees negative_degree_names_the_node "
        "negative_weights_with_positive_degrees_are_used",
    ),
    "I8": Promise(
        "NaN or infinity in x",
        "ValueError with count and first row, at the graph and at `fit`; `check_finite=False` switches it off",
        "inputs: features the_check_of_features_can_be_switched_off; train: features_are_checked_once_unless_told_not_to",
    ),
    "I9": Promise(
        "x of a wrong width, number of rows, dtype, device, or 1-D",
        "ValueError that names both sides, in every layer",
        "inputs: features operands_of_layers; layers: every_layer; layer_set: every_layer",
    ),
    "I10": Promise(
        "isolated nodes",
        "finite: own features with self-loops, a neighbourhood of zero without",
        "graph: degree_zero_gives_zero_and_never_infinity normalizations_against_the_dense_oracle",
    ),
    "I11": Promise(
        "no edges, no nodes",
        "[N, out] from every layer, and backward works",
        "layers: every_layer; layer_set: every_layer; readout: an_empty_graph_keeps_its_row_of_zeros",
    ),
    "I12": Promise(
        "edges given twice",
        '`duplicates="sum" | "first" | "error"`; named data sets keep weight 1; `summary()` counts them',
        "inputs: duplicates; graph: duplicate_edges_are_counted property_duplicates_are_sums; "
        "sparse: duplicates_by_hand duplicates_refused; data: big_endian_and_duplicate_entries real_sets",
    ),
    "I13": Promise(
        "self-loops that are there already",
        "`fill` keeps them and twice is once; `add` is the literal A + I; edge list, sparse and dense agree",
        "graph: filling_loops_twice_changes_nothing fill_and_add_differ_at_nodes_with_a_loop_alone "
        "property_filled_loops_are_filled_once every_door_gives_the_same_a_hat; sparse: self_loops_by_hand "
        "filling_a_loop_that_is_stored_as_zero",
    ),
    "I14": Promise(
        "a directed graph under the symmetric normalisation",
        "in-degrees, as documented, and one warning; a degree of zero gives zero",
        "graph: directed_graph_divides_by_in_degrees_and_warns_once degree_zero_gives_zero_and_never_infinity "
        "property_direction_is_asymmetry",
    ),
    "I15": Promise(
        "another graph, weights or dtype after Â was made",
        "never stale: matrices belong to one immutable graph, and are in no state_dict, copy or pickle",
        "graph: what_is_derived_is_never_stale derived_matrices_are_kept copies_hold_nothing_derived immutable "
        "learned_weights_are_normalised_anew; sparse: learned_values_are_never_stale a_pickle_does_not_hold_the_transpose",
    ),
    "I16": Promise(
        "the readout of an empty graph",
        "0 for sum, mean and max; no row is lost; an empty batch is a ValueError",
        "readout: an_empty_graph_keeps_its_row_of_zeros bad_input equals_a_loop_over_graphs",
    ),
    "I17": Promise(
        "labels outside 0..C-1 (-1: unlabelled), masks that overlap, select nothing or are not bool",
        "ValueError; -100 is not special",
        "inputs: labels_and_masks; graph: labels_and_classes; metrics: labels_beyond_the_number_of_classes",
    ),
    "I18": Promise(
        "scores with NaN, (N, 1) against (N,), no rows",
        "ValueError; never NaN, never 0 by accident",
        "metrics: nothing_is_scored_by_accident class_weight_errors",
    ),
    "I19": Promise(
        "networkx with any node names, attributes on some nodes only",
        "the order of nodes is returned; the error names the node",
        "inputs: networkx pandas; graph: from_networkx_names_weights_and_attributes networkx_round_trip",
    ),
    "I20": Promise(
        "an image grid with sides < 1 or no integers; 1 x N",
        "ValueError; 1 x N is right; self-loops on request only",
        "image: bad_shapes bad_connectivity adjacency bad_images bad_signals",
    ),
    # -- training
    "T1": Promise(
        "a loss or gradient that is not finite",
        "training stops at that step and names epoch and tensor; the last good checkpoint stays; no accuracy is reported",
        "train: training_stops_at_a_number_that_is_not_finite a_huge_learning_rate_names_the_seed "
        "weights_that_are_not_finite_are_not_handed_out; cli: a_training_that_diverges_is_status_1",
    ),
    "T2": Promise(
        "kill -9 or a full disk during a save",
        "the old or the new checkpoint loads; stale temporaries go at the next start",
        "checkpoint: kill_while_saving_leaves_the_old_or_the_new_checkpoint; "
        "files: a_full_disk_leaves_the_old_file a_write_that_raises_changes_nothing; cli: what_the_system_says_is_one_line",
    ),
    "T3": Promise(
        "a checkpoint with changed or missing bytes",
        "`CheckpointCorruptError(file)` by its own sha256; nothing older is taken in its place",
        "checkpoint: flips_and_truncations_are_found other_files_of_arrays_are_no_checkpoints; "
        "files: every_flip_truncation_and_addition_is_found a_whole_file_with_a_lying_index_is_refused",
    ),
    "T4": Promise(
        "a training resumed",
        "bit-equal to the uninterrupted one: weights, optimizer, scheduler, generators, early stopping",
        "checkpoint: a_resumed_training_is_the_uninterrupted_one resuming_twice_from_one_file "
        "every_random_number_generator_goes_on a_model_with_buffers_resumes_to_the_bit; reliability: resuming_at_any_epoch",
    ),
    "T5": Promise(
        "a checkpoint of another model, graph or training",
        "`CheckpointMismatchError` that lists the differences",
        "checkpoint: weights_that_do_not_fit_are_refused another_training_is_not_resumed "
        "another_graph_or_split_is_not_resumed load_model_needs_a_config_that_makes_one",
    ),
    "T6": Promise(
        "the same seed, number of threads and versions",
        "bit-equal between processes; 1 against 2 threads within 1e-5",
        "train: a_large_graph_repeats_to_the_bit "
        "the_deterministic_mode_is_as_before_afterwards; reliability: fresh_processes_repeat_to_the_bit; "
        "graph: a_computed_lambda_max_repeats_to_the_bit",
    ),
    "T7": Promise(
        "a dense adjacency, batch or training step larger than half of the free memory",
        "`MemoryLimitError` before anything is allocated: N, GiB needed, GiB free, the sparse way",
        "memory: a_dense_adjacency_that_cannot_fit_is_refused_at_once batches_that_cannot_fit_are_refused "
        "fit_refuses_a_step_that_cannot_fit available_memory_knows_limits_of_the_process",
    ),
    "T8": Promise(
        "a model in half precision or bfloat16",
        "degrees and sums in float32",
        "graph: low_precision_sums_degrees_in_float32; sparse: sums_of_low_precision_are_in_float32; "
        "train: half_precision_scores_in_float32",
    ),
    "T9": Promise(
        "trainings without a seed, one after the other",
        "each draws one number from torch's generator, so that they differ and `torch.manual_seed` before them repeats them; "
        "`History.seeds` tells it, a resumed training takes its file's, several processes rank 0's",
        "train: a_loop_of_trainings_varies_and_a_seed_before_it_repeats_it an_input_error_draws_nothing "
        "fit_draws_one_number_at_most_and_leaves_every_generator_as_it_was the_seed_of_a_history_repeats_its_training "
        "the_seeds_of_a_stack_start_numpy_and_python_too; checkpoint: without_a_seed_the_files_is_taken; "
        "distributed: ranks_take_the_seed_that_the_first_draws_and_keep_their_generators",
    ),
    "T10": Promise(
        "random numbers of the caller's own before and after a call",
        "no call seeds or moves the generators of torch, CUDA, numpy and Python, also after an error; but for those whose "
        "work it is to draw",
        "reliability: no_door_changes_the_callers_generators no_fold_changes_the_callers_generators "
        "what_is_imported_for_a_call_does_not_change_the_callers_generators; "
        "train: fit_draws_one_number_at_most_and_leaves_every_generator_as_it_was; "
        "checkpoint: generators_go_back the_generators_of_devices_go_back_where_they_are_in_use",
    ),
    "T14": Promise(
        "a class that no training row has",
        "one warning: which classes, and how many validation rows are of them",
        "train: a_class_without_training_rows_is_said_once a_class_without_training_rows_has_its_name",
    ),
    "T15": Promise(
        "a batch of a single row under batch norm",
        "trained by the running averages, and one warning that names `batch_size`",
        "train: a_batch_norm_takes_its_running_averages_for_a_single_row a_single_row_moves_as_its_running_averages_say "
        "rows_of_one_in_each_batch batches_of_more_rows_are_normalised_by_themselves "
        "a_batch_norm_without_averages_names_the_batch_size; "
        "distributed: a_share_of_a_single_row_is_trained_under_batch_norm",
    ),
    # -- several processes
    "D1": Promise(
        "a rank that is killed, raises, stands still",
        "all ranks exit with an error within the timeout (5 min by default); it names the rank, its traceback first",
        "distributed: a_rank_that_raises a_rank_that_is_killed a_rank_that_stands_still "
        "a_rank_that_stands_still_before_the_start a_rank_that_no_exception_reaches a_rank_that_is_elsewhere",
    ),
    "D2": Promise(
        "ranks with different numbers of batches",
        "cannot be: every rank takes its share of each batch, the last one included",
        "distributed: processes_are_one_process ranks_that_differ",
    ),
    "D3": Promise(
        "ranks with different numbers of graphs or labels",
        "the loss is the sum over all divided by their count; 2 processes are 1 within 1e-12",
        "distributed: processes_are_one_process missing_targets_differ_in_number_between_ranks "
        "sampled_batches_of_nodes_in_two_processes_are_those_of_one",
    ),
    "D4": Promise(
        "numbers that the ranks do not divide",
        "metrics count each item once",
        "distributed: processes_are_one_process images_in_two_processes_are_those_of_one folds_are_spread",
    ),
    "D5": Promise(
        "a data set that is not there at the start",
        "one process prepares it, the others wait; if it fails, all exit with its error",
        "distributed: one_process_prepares_a_data_set_and_the_others_wait a_data_set_that_cannot_be_had",
    ),
    "D6": Promise(
        "NaN, another model or other data on one rank",
        "all stop, and the rank is named",
        "distributed: a_value_that_is_not_finite ranks_that_differ wrong_input_on_one_rank",
    ),
    "D7": Promise(
        "torchrun restarts the processes",
        "they go on from the last checkpoint to bit-equal weights",
        "distributed: torchrun_restarts torchrun_gives_up processes_without_torchrun",
    ),
    "D8": Promise(
        "saving under several processes",
        "rank 0 alone writes; a checkpoint knows how many ranks there were",
        "distributed: resuming_is_bit_equal a_checkpoint_that_cannot_be_written",
    ),
}

TESTS = {
    row: [
        f"test_{file.strip()}.py::test_{test}"
        for part in promise.tests.split(";")
        for file, _, tests in [part.partition(":")]
        for test in tests.split()
    ]
    for row, promise in PROMISES.items()
}
