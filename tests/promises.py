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
        "a raw file, the format, the version of gcnlab or a reader's options changed",
        "processed again: the key is a hash of raw bytes and versions; what a function makes is never kept on disk",
        "data: changed_raw_file_or_format_is_processed_again second_time_reads_the_processed_form_alone",
    ),
    "F13": Promise(
        "a processed file or checkpoint that needs code",
        "refused; there is no fallback",
        "checkpoint: code_in_a_checkpoint_never_runs load_model_makes_only_its_own_classes; storage: pickles_are_not_opened; "
        "data: damaged_processed_form_is_announced_and_made_again; reliability: code_runs_at_no_door",
    ),
    "F20": Promise(
        "a saved graph with right digests that is no graph: columns permuted, repeated or out of range, a row pointer that falls, "
        "masks, labels, dtypes, names, arrays of other names, a direction that A does not have",
        "`CorruptFileError(file)` with the row or node before anything is computed; opening reads each byte once more, in no memory "
        "of its own",
        "storage: no_wrong_graph_is_opened_whatever_its_digests_say a_matrix_is_looked_at_whole_across_blocks "
        "another_programs_graph_is_looked_at opening_a_graph_takes_no_memory_of_its_own",
    ),
    "F23": Promise(
        "the processed form of a data set with a right key and sha256 and other contents: columns, labels, splits, node numbers, "
        "dtypes or fields that no reader gives",
        "a warning that names them, and it is made again from the raw files",
        "data: processed_forms_with_right_digests_are_looked_at "
        "processed_collections_and_tables_with_right_digests_are_looked_at",
    ),
    "F24": Promise(
        "a training to resume, or hops in a folder, with a right sha256 and fields that are missing, of another type or of another size",
        "`CheckpointCorruptError` or `CheckpointMismatchError`, and `CorruptFileError` of hops; nothing is trained",
        "checkpoint: trainings_that_gcnlab_did_not_write_are_not_resumed a_state_that_no_training_reaches_is_refused; precompute: hops_of_another_shape_are_refused",
    ),
    "F22": Promise(
        "a checkpoint or a result with a right sha256 and a header that no model has: fields missing or of other types, widths and "
        "depths larger than its weights, fewer class names than outputs, folds that do not fit the seeds",
        "`CheckpointCorruptError`, `CheckpointMismatchError` or `CorruptFileError` with the field, before a model is built or "
        "anything is computed",
        "checkpoint: headers_of_checkpoints_that_no_model_has_are_refused; cli: results_that_gcnlab_did_not_write_are_refused; "
        "storage: a_changed_head_is_seen",
    ),
    "F21": Promise(
        "a SparseMatrix of parts that are unsorted, given to its trusting constructor",
        "self-loops are not put into it: `InputError`, and never a column that was in memory before",
        "sparse: self_loops_of_unsorted_columns_are_refused",
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
    "I21": Promise(
        "a pandas object as x, y, mask, weight or adjacency, at any door",
        "put in the order of the node names by its index, or refused with the names; a default index counts as no names; rows "
        "without an edge are isolated nodes; an array beside names that were numbered here is refused",
        "doors: features_follow_the_names labels_follow_the_names masks_follow_the_names tables_of_other_names_are_refused "
        "a_table_beside_nodes_without_names names_of_another_type a_positional_array_beside_names_that_are_numbered_here "
        "rows_without_an_edge_are_isolated_nodes a_table_as_adjacency weights_have_no_names_to_follow columns_of_several_types "
        "what_is_read_by_position_has_no_names points_keep_their_names dicts_are_by_name "
        "what_has_no_order_is_refused masked_arrays_and_tables_of_edges",
    ),
    "I22": Promise(
        "node or class names of which one is given twice, or that are a text",
        "refused with the name and its places",
        "doors: names_occur_once networkx_takes_its_own_nodes_in_an_order",
    ),
    "I23": Promise(
        "labels as text, categories, bools, with missing values, [N, 1], -1 and 1, numbers as text, of nodes, graphs and images",
        "one rule says what is a class and what a target; the remedy in a message gives the right classes",
        "doors: what_becomes_a_class what_becomes_a_class_of_graphs_and_images what_becomes_a_target labels_that_are_refused "
        "text_that_means_a_missing_label_is_said a_single_label_is_the_graphs graphs_are_numbered_alike_by_their_class_names "
        "minus_one_and_one_are_classes_of_graphs the_remedy_for_floats_gives_the_right_classes labels_of_a_csv_folder",
    ),
    "I24": Promise(
        "an undirected table that lists a pair in both directions",
        "the pair counts once; another weight is an error that names the pair",
        "doors: an_undirected_table_counts_a_pair_once",
    ),
    "I25": Promise(
        "ids from 1, ids that are account numbers, a weight that no edge has, the matrix of a bipartite graph",
        "an error that knows why, before memory is taken",
        "doors: ids_that_count_from_1 ids_that_are_not_numbered a_weight_that_no_edge_has the_matrix_of_a_bipartite_graph",
    ),
    "I26": Promise(
        "PyG's edge_attr of integers or several columns, adj_t, masks of several splits, a Batch",
        "no weight in silence: left out with one warning, read, or named with the remedy; MUTAG is MUTAG",
        "doors: edge_attr_of_pyg other_forms_of_pyg masks_that_are_refused masks_of_bytes_and_columns mutag_of_pyg_is_ours",
    ),
    "I27": Promise(
        "one graph through every door: edge list, matrices, networkx, pandas, PyG, files, batch, replace",
        "one graph; what a door cannot carry is said by a table of the documentation",
        "doors: one_graph_through_every_door_is_one_graph every_door_of_the_page_is_tried one_graph_of_several",
    ),
    # -- options and the installation
    "O1": Promise(
        'an option that is not meant: a probability of 1.5 or NaN, 2.5 layers, 0 channels, `True` as a number, `"False"` as '
        "a flag, a word that is not one of the known ones, a seed below 0",
        "`InputError` or `InputTypeError` at the call, with the argument and the value; for every option of every public name",
        "options: what_an_option_does_not_mean_is_refused what_an_option_means_is_taken "
        "every_public_name_with_options_is_in_the_table the_documented_names_are_found; checks: probabilities "
        "numbers_that_are_no_probabilities what_is_no_number numbers_within_limits choices_are_of_their_kind "
        "only_true_and_false_are_flags lists integers_and_seeds; models: batch_norm_by_its_name_or_true; "
        "cli: wrong_input_is_status_2_and_one_line",
    ),
    "O2": Promise(
        "a package that a command needs is missing or broken",
        "exit status 2 before the work: one line says which, what needs it, and the `pip install` that brings it",
        "cli: a_missing_package_is_met_before_the_work; packaging: packages_are_asked_for_by_one_function "
        "each_extra_is_known_by_its_package",
    ),
    "E1": Promise(
        "`import gcnlab` in the folder that holds an editable install's clone",
        "the package, never the clone's folder as a namespace package",
        "packaging: a_checkout_is_imported_from_the_folder_that_holds_it "
        "an_editable_install_puts_the_checkout_on_the_path",
    ),
    "E2": Promise(
        "no data set and no network",
        "`gcnlab doctor` names the roots, says why none can be fetched within a few seconds, and what works without files",
        "doctor: no_data_set_is_a_note_and_no_problem the_network_is_asked_for_a_few_seconds_at_most "
        "no_connection_without_the_package_that_makes_one",
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
        "files: every_flip_truncation_and_addition_is_found a_whole_file_with_a_lying_index_is_refused "
        "a_file_states_the_sha256_of_all_its_bytes a_whole_file_with_lying_metadata_is_refused "
        "a_whole_file_with_a_lying_length_is_refused every_flip_and_truncation_of_a_file_of_1_0_is_found "
        "a_whole_file_of_1_0_with_a_lying_index_is_refused",
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
        "another_graph_or_split_is_not_resumed load_model_needs_a_config_that_makes_one "
        "a_module_that_computes_otherwise_is_not_resumed",
    ),
    "T6": Promise(
        "the same seed, number of threads and versions",
        "bit-equal between processes; 1 against 2 threads within 1e-5",
        "train: a_large_graph_repeats_to_the_bit "
        "the_deterministic_mode_is_as_before_afterwards; reliability: fresh_processes_repeat_to_the_bit",
    ),
    "T7": Promise(
        "a dense adjacency, batch or training step larger than half of the free memory",
        "`MemoryLimitError` before anything is allocated: N, GiB needed, GiB free, the sparse way",
        "memory: a_dense_adjacency_that_cannot_fit_is_refused_at_once batches_that_cannot_fit_are_refused "
        "fit_refuses_a_step_that_cannot_fit available_memory_knows_limits_of_the_process",
    ),
    "N1": Promise(
        "a few numbers that ask for more than there is: ids of graphs, labels, classes, bins, features, degrees, hops, grids, "
        "products, diffusion, made-up graphs",
        "`MemoryLimitError` or `InputError` with the argument and the GiB, before anything is allocated",
        "memory: sizes_that_cannot_fit_are_refused_before_they_are_asked_for what_fits_is_not_refused",
    ),
    "N2": Promise(
        "more processes or threads than this machine bears",
        "`InputError` with the argument, the number and the most, before one is started",
        "checks: workers_are_as_many_as_the_machine_bears processes_that_do_not_fit_in_memory_are_not_started",
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
    "T16": Promise(
        "batch norms in a training of few steps, or of quickly moving weights",
        "validated, kept and saved with averages of the epoch's last rows under the very weights, averaged ones too; frozen "
        "norms keep theirs; nothing is drawn for it",
        "train: averages_are_those_that_the_kept_weights_give averages_do_not_touch_the_training "
        "validation_scores_and_kept_weights_have_averages_of_their_own a_frozen_batch_norm_keeps_its_averages "
        "averages_are_of_the_last_rows_of_an_epoch a_batch_norm_without_averages_trains_as_before; "
        "signals: running_average_is_what_is_validated_and_kept; "
        "distributed: resuming_is_bit_equal",
    ),
    "T17": Promise(
        "a weighted `BatchNorm` with momentum=None, affine=False or track_running_stats=False",
        "as torch's on the repeated rows",
        "models: a_batch_norm_of_counted_rows_is_torchs_of_repeated_ones",
    ),
    "T18": Promise(
        "validation images or graphs that have only some of the classes, by name",
        "scored as the training numbers its classes; a class that the training lacks is refused by name",
        "train: validation_has_the_classes_of_the_training_by_their_names",
    ),
    "T11": Promise(
        "a model of layers that take another matrix than Â, and no operator given",
        "`fit` and `predict` give it the one that the layers name; where they name different ones, or a sampler draws another "
        "one, InputError names layer, matrix and remedy",
        "layer_set: a_model_is_called_with_the_matrix_that_its_layer_names a_collection_gives_each_layer_its_matrix "
        "layers_that_name_different_matrices_are_refused names_that_are_no_kinds models_of_others_go_on_with_a_hat; "
        "scale: a_sampler_that_draws_another_matrix_is_refused auto_draws_the_matrix_that_the_layers_name",
    ),
    "T12": Promise(
        "a model trained with one matrix, and `predict`, a file or a resumed training without it or with another",
        "`predict` takes the kind of the training, λ_max included, from the model or its file; another kind, or a matrix of "
        "your own that is missing, is a warning; a training resumed with another is `CheckpointMismatchError`",
        "train: predict_takes_the_matrix_of_the_training a_matrix_of_one_s_own_is_missed_by_predict "
        "a_training_says_what_its_models_were_called_with a_function_that_draws_is_asked_for_its_kind_beside_the_numbers; "
        "checkpoint: a_checkpoint_says_what_the_model_was_called_with a_training_with_another_matrix_is_not_resumed; "
        "scale: prediction_in_batches_has_the_matrix_of_the_training; graph: the_largest_eigenvalue_is_the_same_at_each_call",
    ),
    "T13": Promise(
        "a layer called with a graph's matrix that its formula has no use for",
        "a warning, once for each place, that names both; a matrix knows what it is for as long as its values and entries stay",
        "layer_set: a_layer_says_when_it_gets_another_matrix a_layer_of_one_s_own_that_names_its_matrix "
        "the_warning_does_not_break_a_compiled_layer; graph: a_matrix_of_a_graph_knows_its_kind no_other_kind "
        "a_matrix_keeps_its_kind_when_it_becomes_the_adjacency_of_a_graph; sparse: what_keeps_the_kind_and_what_drops_it",
    ),
    # -- probabilities
    "P1": Promise(
        "the probability beside a predicted label",
        "softmax(logits / T), T fitted on the validation nodes or graphs alone; no label changes, and a checkpoint without T is named",
        "recipes: the_temperature_is_of_the_validation_nodes the_temperature_of_a_random_split_is_of_its_own_validation_nodes "
        "a_recipe_on_a_diffusion_matrix the_result_of_a_holdout; ogb: logits_of_smoothed_scores "
        "labels_of_the_test_nodes_are_not_read; cli: a_temperature_changes_probabilities_and_no_label "
        "predict_gives_what_was_trained predict_graphs; metrics: temperature_is_that_of_scipy "
        "temperature_of_few_or_separated_rows",
    ),
    "P2": Promise(
        "logits, one column or NaN where the calibration error takes probabilities",
        "`InputError` with the remedy: logits.softmax(1), or two columns",
        "metrics: logits_have_no_calibration_error one_column_is_no_distribution no_temperature_is_fitted_by_accident "
        "calibration_error_is_its_formula calibration_error_by_hand",
    ),
    # -- links
    "L1": Promise(
        "features made of the structure before edges are held back",
        "made again from the training edges where `with_features` made them; refused where they are A, degrees or what tells "
        "edges alike, with the remedy",
        "links: features_of_the_structure_are_seen_in_a_saved_graph features_of_the_structure_are_made_again_from_the_training_edges "
        "features_made_by_hand_from_the_structure_are_refused neighbours_within_two_steps_are_refused "
        "a_similarity_that_the_graph_was_cut_from_is_refused features_of_a_larger_or_another_structure_are_refused "
        "other_features_are_kept features_given_anew_are_no_longer_those_of_the_structure "
        "nothing_derived_from_the_whole_graph_rides_along",
    ),
    "L2": Promise(
        "negative pairs of a bipartite graph",
        "one node on each side: of `sides=`, or found where no chance makes them, with a warning",
        "links: sides_are_found_in_a_graph_of_women_and_events pairs_between_sides_are_all_of_them_when_all_are_asked_for "
        "pairs_between_unequal_sides_are_uniform_and_quick directed_pairs_go_the_ways_that_edges_go "
        "graphs_that_have_two_colours_by_chance_or_not_at_all_have_no_sides sides_asked_for_in_a_tree "
        "sides_in_several_components",
    ),
    "L3": Promise(
        "a matrix whose two halves differ by rounding alone",
        "undirected: both directions of an edge stay together; more than rounding is directed, and nearly undirected is told",
        "links: a_matrix_that_is_symmetric_up_to_rounding_is_undirected "
        "a_matrix_that_differs_by_more_than_rounding_is_directed a_directed_graph_that_is_nearly_undirected_is_told "
        "derivatives_of_a_rounded_matrix_are_those_of_its_transpose_up_to_rounding",
    ),
    "L4": Promise(
        "pairs, shares, seeds, scores and K of a wrong kind, range or number; dense graphs with few pairs left",
        "an error that names the argument and the remedy; the few pairs are listed, in seconds",
        "links: errors_name_the_argument lists_are_pairs_and_scores a_share_that_holds_back_no_edge_is_told "
        "the_few_non_edges_of_a_dense_graph_are_listed listed_non_edges_are_uniform",
    ),
    # -- pictures
    "M1": Promise(
        "a picture that a camera or phone wrote turned, in any format or mode",
        "upright, as its EXIF orientation says, sizes too; the first picture of an MPO; HEIC is named with the remedy",
        "image_data: pictures_stand_as_the_camera_s_orientation_says a_heic_picture_is_named_with_the_remedy",
    ),
    "M2": Promise(
        "floats 0 to 255 or -1 to 1, bytes 0 and 1, a division by 255 made twice, floats of another width",
        "a warning that names the range and the remedy; Signals are of torch's default dtype",
        "signals: pixels_in_another_range_than_bytes_have_are_told pixels_in_the_range_of_bytes_are_not_told "
        "bytes_as_floats_are_told_where_feature_maps_are_not floats_of_any_width_train_a_model_of_torchs_default; "
        "baselines: the_door_tells_another_range_once",
    ),
    "M3": Promise(
        "one picture [H, W, C], where [N, H, W] is expected",
        "`InputError`: images[None]; narrow images pass where their grid or their channels say so",
        "signals: one_picture_is_no_stack_of_narrow_ones indices_of_bytes_are_no_mask_and_masked_arrays_no_images; "
        "image_data: an_image_set_of_channels_first_is_refused; points: superpixel_collection_names_what_is_wrong; "
        "image: bad_images",
    ),
    "M4": Promise(
        "a slice of a folder that lies sorted by class; a class without a picture; a picture in both parts",
        "the order is drawn by a seed, so that a slice has every class; the others are warnings",
        "image_data: a_slice_of_a_folder_is_of_every_class pictures_of_both_parts_and_classes_without_one_are_told",
    ),
    "M5": Promise(
        "a folder with several sizes, 16 bits, broken files, what systems leave behind, parts under other names",
        "`size=`, all broken files in one error, no such picture or class, read; a third part is told",
        "image_data: pictures_of_16_bits_are_not_cut_to_8 pictures_of_several_sizes_get_one large_photographs_are_made_small_one_by_one "
        "every_broken_file_is_told_at_once what_systems_leave_behind_is_no_picture_and_no_class "
        "two_parts_under_the_names_people_give_them a_third_part_is_told_and_two_of_a_kind_are_refused",
    ),
    "M6": Promise(
        "idx files under other names or packed, Keras' npz, CIFAR-10's pickles, a zip archive of pictures",
        "read by their bytes, or refused by name with the remedy",
        "image_data: idx_files_under_the_names_people_have idx_files_of_which_some_are_missing keras_npz_of_images "
        "the_python_version_of_cifar_is_named a_zip_archive_of_pictures_is_named",
    ),
    "M7": Promise(
        "the same images through every door",
        "the same pixels and labels, or a refusal by name",
        "doors: one_set_of_images_through_every_door_is_one_set a_zip_archive_of_images_is_refused_by_name",
    ),
    "M8": Promise(
        "images whose labels nobody knows, or without Signals",
        "`predict` takes them, `gcnlab predict` pictures and folders of them; what trains or scores names Signals",
        "signals: images_without_labels_are_predicted_alone predict_pictures images_that_are_no_signals_are_told_how_they_become_some",
    ),
    "M9": Promise(
        "a layer by its number in a tutorial, a family of models in another picture",
        "features.0, .20 and .40 of explainable_cnn are convolutions, weights with the old numbers load; one colour per family",
        "baselines: the_convolutions_of_explainable_cnn_are_numbered_as_tutorials_count_them; "
        "plot: a_layer_inside_another_is_named_where_its_number_is_given several_channels_of_one_image_are_one_figure "
        "a_family_has_one_colour_and_marker_in_every_picture",
    ),
    # -- what the parts of gcnlab say of themselves, of the machine and of devices
    "S1": Promise(
        "a batch of several graphs, or a sample of the edges, where one whole Graph is expected",
        "labels of graphs never become labels of nodes, and a drawn Â is never made again: refused by name",
        "collections: labels_of_graphs_are_never_those_of_nodes a_batch_says_and_does_what_it_is; scale: a_sample_of_the_edges_is_not_taken_for_all_of_them",
    ),
    "S2": Promise(
        "tensors of two devices in one Graph, batch, Signals or score; a graph in host memory beside a model elsewhere",
        '`InputError` that names both devices, before any work; samplers and `predict(batch_size=)` bring batches to the model; "cpu:0" is "cpu"',
        "graph: a_graph_is_on_one_device; metrics: scores_and_labels_on_two_devices; signals: images_and_grid_on_two_devices; collections: graphs_on_another_device; scale: a_graph_in_host_memory_feeds_a_model_on_a_device; sparse: one_device_has_several_names; precompute: hops_elsewhere_do_not_ask_for_the_memory_of_the_cpu; machine: names_of_devices",
    ),
    "S3": Promise(
        "values that are a column of a table, or expanded",
        "the matrix holds them side by side, as kernels read them; the gradient reaches the table",
        "sparse: values_are_contiguous_wherever_they_come_from a_product_is_given_contiguous_values",
    ),
    "S4": Promise(
        "a process that may use fewer cores, or less memory, than the machine has",
        "every command asks one place, which knows affinity, limits, and the process's own control groups up to the root",
        "machine: usable_cores_are_those_bound_to cpu_quota available_memory_is_that_of_the_process_s_own_control_groups every_command_asks_for_the_cores_that_it_may_use",
    ),
    "S5": Promise(
        "a model that is looked at or predicts (`predict`, `summary`, a report, feature maps), an error on the way included",
        "evaluation mode while it runs; then each module is in the mode it had, a frozen batch norm too, and no statistic has moved",
        "train: evaluation_gives_each_module_its_own_mode_back; models: a_summary_and_a_report_leave_each_module_in_its_own_mode",
    ),
    "S6": Promise(
        "`gcnlab.Adam` where a `torch.optim.Optimizer` is expected; an optimizer whose step needs a closure",
        "state, hooks, groups, closures, copies, pickles and schedulers as torch's; each goes on from the other's state, another's is refused; `fit` refuses LBFGS by name",
        "train: adam_refuses_what_it_does_not_compute adam_keeps_the_contract_of_an_optimizer adam_of_gcnlab_and_of_torch_go_on_from_each_other adam_refuses_a_state_of_another_kind adam_goes_on_from_the_state_of_1_0 adam_does_not_import_the_compiler an_optimizer_that_needs_a_closure",
    ),
    "S7": Promise(
        "`import gcnlab`, then any module that the reference names; D - A of a graph; a torchvision of another build; ten pictures",
        "each module is there when asked for, and the import brings torch and little else; `combinatorial_laplacian`; errors that name the remedy",
        "packaging: documented_modules_are_there_after_import; graph: the_combinatorial_laplacian_is_that_of_networkx; baselines: a_torchvision_of_another_build; signals: too_few_images_to_hold_some_out",
    ),
    "S8": Promise(
        "what a run of an image recipe wrote, given to `load_model` and `gcnlab predict`",
        "one file for every kind of model, with a temperature fitted on the held-out images; images of another size are refused; weights of 1.0 still score with `--pretrained`",
        "signals: run_a_recipe_of_images predict_images weights_that_were_written_score_as_they_did "
        "the_weights_that_come_with_gcnlab_are_those_of_1_0",
    ),
    # -- what is kept and shared
    "K1": Promise(
        "learnt edge weights, evaluated between two steps: no_grad, inference_mode, `predict`, frozen for a while",
        "every derived matrix follows the weights; a learnt matrix is never taken for symmetric or kept",
        "graph: learnt_weights_learn_on_after_an_evaluation a_learnt_matrix_is_not_taken_for_symmetric "
        "learned_weights_are_normalised_anew; collections: alike_nodes_of_learnt_weights_are_not_merged; "
        "train: seeds_whose_model_keeps_a_graph_of_its_weights_learn_them; "
        "sparse: the_transpose_that_is_kept_is_of_the_values_that_are_there",
    ),
    "K2": Promise(
        "graphs, batches, grids, hops and transposes that were made or first read under inference_mode",
        "they serve a training afterwards",
        "graph: what_inference_mode_made_serves_a_training; collections: what_inference_mode_cut_out_serves_a_training; "
        "signals: what_inference_mode_made_of_a_grid_serves_a_training; precompute: rows_written_to_later_are_no_rows",
    ),
    "K3": Promise(
        "learnt weights or features given to `fit`, `estimate_memory`, `to` or an X of another dtype",
        "they work, or an InputError says which part learns, and the remedy; never a copy that stays behind",
        "train: what_would_learn_and_is_no_parameter_is_named; graph: what_learnt_weights_would_not_follow_is_refused "
        "the_memory_of_a_step_on_learnt_weights",
    ),
    "K4": Promise(
        "a buffer of masks, labels, indices or edge weights that is used again for the next graph",
        "each graph, collection and set of images has its own: they are copied",
        "graph: a_buffer_used_again_gives_each_graph_its_own weights_written_to_later_are_no_weights_of_the_graph; "
        "collections: a_collection_owns_its_labels_starts_and_choices; "
        "signals: images_given_in_a_buffer_are_copied_or_watched",
    ),
    "K5": Promise(
        "a tensor of features, values of A, images or hops that is written to after it was given",
        "InputError at its next use, since it is shared; an array is copied",
        "graph: features_written_to_later_are_no_features_of_the_graph "
        "weights_written_to_later_are_no_weights_of_the_graph; precompute: rows_written_to_later_are_no_rows; "
        "signals: images_given_in_a_buffer_are_copied_or_watched; "
        "scale: learnt_weights_and_operators_written_to_are_not_sampled; graph: a_copy_is_watched_too; "
        "collections: a_collection_owns_its_labels_starts_and_choices "
        "merged_nodes_are_those_of_the_features_and_the_collection",
    ),
    "K6": Promise(
        "several trainings at once in threads of one process",
        "they take turns, and each gives the numbers that it gives alone; a module made meanwhile waits, too",
        "train: trainings_in_threads_are_those_alone a_training_within_a_training "
        "a_training_waits_for_a_module_that_another_thread_makes "
        "a_process_forked_while_another_thread_trains_can_train",
    ),
    "K7": Promise(
        "`fit` within no_grad, inference_mode or autocast; a model whose forward detaches",
        "the numbers of `fit` alone; InputError where no derivative leads to the weights",
        "train: a_training_is_the_same_within_any_mode a_model_whose_output_has_no_derivative_is_named; "
        "signals: bfloat16_is_close_to_float32",
    ),
    "K8": Promise(
        "features that no layer takes: torch sparse or nested tensors, arrays, lists, another dtype or width; a batch of batches",
        "an error that names the argument, what it got, and what makes the right thing of it",
        "models: features_that_no_layer_takes_are_named what_no_readout_takes_is_named "
        "sparse_tensors_of_torch_become_features_as_the_error_says; checks: dense_tensors_like_a_weight; "
        "collections: several_graphs_where_one_is_expected_are_named",
    ),
    "K9": Promise(
        'counts, probabilities, flags and names of another kind: 1.5 layers, a dropout of "0.5", batches of np.int64',
        "integers of numpy and torch are taken everywhere; all else is refused by the argument's name",
        "checks: counts; models: words_of_another_kind_are_refused_by_name; "
        "train: counts_may_be_numbers_of_numpy_and_torch wrong_words_of_checkpoints_and_optimizers",
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
    # -- what is stored
    "H1": Promise(
        "a checkpoint of a training on other values: X, edge weights, an own operator, hops, graphs of validation, a grid",
        "`CheckpointMismatchError` that names them; last bits, which differ between machines, are no difference",
        "checkpoint: a_training_on_other_values_is_not_resumed a_training_goes_on_where_the_last_bits_of_values_differ "
        "a_digest_sees_values_and_not_their_last_bits a_digest_sees_every_integer_and_places_of_ones",
    ),
    "H2": Promise(
        "`compare --out` where the images, labels or the version are others than those of a stored result",
        "trained again, with a warning; the table is of these images alone and names the version of each row",
        "signals: a_comparison_is_of_the_images_that_are_there a_row_of_a_comparison_names_its_version "
        "a_result_of_1_0_does_not_stand_for_images_that_it_does_not_name "
        "images_that_change_while_models_train_are_told; "
        "jobs: a_key_holds_settings_data_and_version results_of_other_data_or_another_version_are_told",
    ),
    "H3": Promise(
        "stored folds, or two results to compare, of other graphs, labels, fold lists or of another version",
        "folds are trained again, with a warning; two such results are refused",
        "protocols: folds_of_other_graphs_are_trained_again folds_of_other_lists_are_trained_again "
        "paired_refuses_folds_of_other_graphs",
    ),
    "H4": Promise(
        "hops, or the processed form of a data set, that another version of gcnlab made",
        "made again",
        "precompute: hops_of_another_version_are_made_again; data: changed_raw_file_or_format_is_processed_again",
    ),
    "H5": Promise(
        "a checkpoint that another version wrote, or 1.0, which kept no digest of values",
        "resumed with the check that it has, and a warning that says so",
        "checkpoint: a_file_of_another_version_is_resumed_and_said a_training_of_1_0_is_resumed a_model_of_1_0_is_loaded",
    ),
    "H6": Promise(
        "a last line of stored results that was cut short",
        "dropped, and its work done again; any other line that is no result is named",
        "jobs: a_last_line_that_was_cut_short_is_dropped_and_written_again a_line_that_is_no_result_is_named; "
        "signals: a_torn_last_line_of_a_comparison_is_made_again; protocols: a_torn_last_line_of_folds_is_trained_again",
    ),
    "H7": Promise(
        "a picture, report or model that cannot be made or written after a training; a full disk",
        "a warning: result.json, `--json` and the printed figures come first",
        "recipes: what_fails_after_the_result_is_a_warning; cli: a_picture_that_cannot_be_drawn_takes_no_figure "
        "a_full_disk_takes_no_figure_from_the_screen; signals: a_picture_that_fails_takes_no_row_of_a_comparison; "
        "protocols: a_full_disk_takes_no_fold; jobs: a_full_disk_takes_no_result",
    ),
    # -- processes that are killed, and poor surroundings
    "R1": Promise(
        "TERM, HUP or kill -9 of `gcnlab run`, of `compare`, of a launcher of ranks, of a process that trains folds",
        "no process of it is left after 5 s: workers and ranks end with the process that started them, also while they import or stand still",
        "distributed: no_process_outlives_a_command_that_is_killed a_process_ends_with_its_parent "
        "the_thread_alone_ends_a_process_with_its_parent",
    ),
    "R2": Promise(
        "a worker process that is killed, such as by the system where memory runs out",
        "an error at once that names the signal; the other workers end, and finished folds stay in the file of results",
        "distributed: a_worker_that_is_killed_is_named",
    ),
    "R3": Promise(
        "worker processes from a script without a main guard, or from a daemonic process",
        "one error that says what to write, and no script run again and again; a daemonic process trains folds itself",
        "distributed: a_script_without_a_main_guard_is_told_what_to_write a_daemonic_process_trains_folds_itself_or_says_why_not",
    ),
    "R4": Promise(
        "no stdout or stderr: `sys.stderr` None or closed, a terminal that is gone, descriptors that a shell closed",
        "trains and writes as ever; what is for stderr never goes to stdout, and no file gets the number of a closed stream",
        "machine: a_stderr_that_nobody_reads_is_no_error; train: a_training_without_stderr; "
        "cli: a_run_without_streams no_file_takes_the_place_of_a_closed_stream",
    ),
    "R5": Promise(
        "an output encoding without é or ±, a locale of ASCII",
        "text for people is written with escapes, and no result is lost; a name in a table of data is whole or an error",
        "cli: an_output_that_cannot_hold_a_letter a_name_that_the_output_cannot_hold_is_no_other_name a_locale_of_ascii",
    ),
    "R6": Promise(
        "a user without a home folder or an entry in the system's list of users",
        "what needs no data root works; else an `InputError` that names HOME and GCNLAB_DATA",
        "data: a_user_without_a_home_folder",
    ),
    "R7": Promise(
        "certificates that are missing (`REQUESTS_CA_BUNDLE`), or any other reason why no connection is made",
        "`DatasetNotFoundError` with the reason, at once; the variable is named, too",
        "data: certificates_that_are_missing_are_named whatever_keeps_a_connection_from_being_made_is_told",
    ),
    "R8": Promise(
        "a server that sends a byte a second",
        "left after 30 s without 64 KiB; nothing is kept, and the lock is free",
        "data: a_server_that_sends_a_few_bytes_at_a_time_is_left a_server_of_the_lowest_rate_is_waited_for",
    ),
    "R9": Promise(
        "the oldest versions of the packages that gcnlab admits",
        "they stand in pyproject.toml, `gcnlab doctor` and constraints-oldest.txt, and are the same",
        "packaging: the_oldest_versions_are_installed_to_be_tested doctor_knows_each_dependency_and_its_oldest_version; "
        "collections: integers_in_chunks",
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
