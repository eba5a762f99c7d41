//! The suite notices faults: each is planted in the reference, and the check that is there for it must fail.

use crate::mutant::{Fault, Mutant};
use seq2seq_core::conformance::{
    additive, attention, cache, choose, columns, cross, embed, errors, linear, norm, pool,
    recurrent, same_bits, sample, sample_k, top_k, train, windows,
};
use seq2seq_core::reference::Reference;

/// Each fault and the check that must find it, as a test of its own.
macro_rules! faults {
    ($($name:ident: $fault:ident => $check:path;)+) => {
        $(
            #[test]
            fn $name() {
                let outcome = $check(&Mutant(Fault::$fault));
                assert!(outcome.is_err(), "{:?} went unnoticed", Fault::$fault);
            }
        )+
    };
}

faults! {
    linear_off_by_a_ten_thousandth: LinearTenThousandth => linear::matches_reference;
    int8_off_by_an_ulp: LinearOneUlp => linear::int8_sums_are_exact;
    linear_depends_on_the_batch: LinearUlpInBatches => linear::is_batch_invariant;
    gelu_by_tanh: GeluByTanh => linear::activations_match;
    relu_drops_nan: ReluDropsNan => linear::activations_match;
    bf16_that_does_not_round: Bf16AsF32 => linear::matches_reference;
    f16_that_does_not_round: F16AsF32 => linear::matches_reference;
    f16_that_rounds_rows: F16AsBf16 => linear::f16_gives_the_bits_of_f32;
    f16_without_subnormal_weights: F16Flushed => linear::f16_gives_the_bits_of_f32;
    f16_that_rounds_the_state: F16AsBf16 => recurrent::f16_gives_the_bits_of_f32;
    f16_said_to_be_there: FormatMissing => errors::formats_are_as_said;
    int8_that_does_not_quantise: Int8AsBf16 => linear::matches_reference;
    int8_with_symmetric_rows: Int8Symmetric => linear::matches_reference;
    int8_with_symmetric_rows_in_integers: Int8Symmetric => linear::int8_sums_are_exact;
    int4_off_by_an_ulp: LinearOneUlp => linear::int4_sums_are_exact;
    int4_that_keeps_8_bits: Int4AsInt8 => linear::matches_reference;
    gate_and_up_swapped: GateAndUpSwapped => linear::matches_reference;
    scale_forgotten: ScaleForgotten => linear::matches_reference;
    scale_on_the_bias: ScaleOnBias => linear::matches_reference;
    nan_weights_accepted: NanWeightsAccepted => errors::are_those_of_the_reference;
    eps_forgotten: EpsForgotten => norm::matches_reference;
    unbiased_variance: VarianceUnbiased => norm::matches_reference;
    norm_depends_on_the_batch: NormUlpInBatches => norm::is_batch_invariant;
    second_table_forgotten: SecondTableForgotten => embed::matches_reference;
    lookup_scale_forgotten: LookupScaleForgotten => embed::matches_reference;
    mean_over_padding: MeanByLongest => pool::matches_reference;
    last_row_is_the_first: LastIsFirst => pool::matches_reference;
    pool_depends_on_the_batch: PoolUlpInBatches => pool::is_batch_invariant;
    rows_sorted: RowsSorted => pool::gather_rows_copies;
    attends_to_what_follows: Bidirectional => attention::matches_reference;
    score_scale_off: ScoreScaleOff => attention::matches_reference;
    bias_sides_swapped: BiasSidesSwapped => attention::matches_reference;
    bias_forgotten: BiasForgotten => attention::matches_reference;
    rotary_scale_forgotten: RotaryScaleForgotten => attention::matches_reference;
    attend_depends_on_the_batch: AttendUlpInBatches => attention::is_batch_invariant;
    nan_hidden: NanHidden => attention::keeps_nan_in_its_sequence;
    steps_unrotated: StepsUnrotated => cache::gives_the_bits_of_the_whole;
    steps_off_by_an_ulp: StepOneUlp => cache::gives_the_bits_of_the_whole;
    siblings_swapped: SiblingsSwapped => cache::reorders_as_if_recomputed;
    parents_sorted: ParentsSorted => cache::reorders_as_if_recomputed;
    too_much_room: TooMuchRoom => errors::are_those_of_the_reference;
    first_source_for_all: FirstSourceForAll => cross::matches_reference;
    cross_attend_depends_on_the_batch: CrossUlpInBatches => cross::is_batch_invariant;
    weights_off: WeightsOff => cross::weights_sum_to_one;
    weights_replaced: WeightsReplaced => cross::weights_sum_to_one;
    recurrent_bias_forgotten: RecurrentBiasForgotten => recurrent::matches_reference;
    gates_swapped: GatesSwapped => recurrent::matches_reference;
    recurrent_input_off: RecurrentTenThousandth => recurrent::matches_reference;
    state_of_c_forgotten: CellStateForgotten => recurrent::pieces_give_the_bits_of_the_whole;
    state_forgotten: StateForgotten => recurrent::matches_reference;
    state_forgotten_between_pieces: StateForgotten => recurrent::pieces_give_the_bits_of_the_whole;
    second_direction_forwards: SecondDirectionForwards => recurrent::runs_directions_apart;
    recur_depends_on_the_batch: RecurUlpInBatches => recurrent::is_batch_invariant;
    recur_hides_nan: RecurHidesNan => recurrent::keeps_nan_in_its_sequence;
    additive_scale_off: AdditiveScaleOff => additive::matches_reference;
    additive_first_source_for_all: FirstSourceForAll => additive::matches_reference;
    additive_weights_off: WeightsOff => additive::matches_reference;
    additive_weights_replaced: WeightsReplaced => additive::matches_reference;
    additive_depends_on_the_batch: CrossUlpInBatches => additive::is_batch_invariant;
    columns_from_the_first: ColumnsFromTheFirst => columns::columns_copies;
    rows_stacked_backwards: RowsStackedBackwards => columns::stack_rows_copies;
    taps_side_by_side: WindowsUndilated => windows::match_reference;
    grids_in_one_another: GridsRunTogether => windows::are_batch_invariant;
    high_ids_first: HighIdsFirst => top_k::matches_reference;
    rules_forgotten_in_choice: RulesForgotten => top_k::matches_reference;
    rules_before_normalising: RulesBeforeNormalising => top_k::matches_reference;
    raw_scores: RawScores => top_k::matches_reference;
    choice_depends_on_the_batch: ChoiceUlpInBatches => top_k::is_batch_invariant;
    rules_forgotten_in_draw: RulesForgotten => sample::matches_reference;
    uniform_mirrored: UniformMirrored => sample::matches_reference;
    top_p_forgotten: TopPForgotten => sample::matches_reference;
    top_p_forgotten_in_frequencies: TopPForgotten => sample::follows_the_distribution;
    typical_forgotten: TypicalForgotten => sample::matches_reference;
    score_before_warps: ScoreBeforeWarps => sample::matches_reference;
    rules_forgotten_in_draws: RulesForgotten => sample_k::matches_reference;
    rules_before_normalising_in_draws: RulesBeforeNormalising => sample_k::matches_reference;
    noise_forgotten: NoiseForgotten => sample_k::matches_reference;
    noise_shared: NoiseShared => sample_k::matches_reference;
    noise_in_scores: NoiseInScores => sample_k::matches_reference;
    min_keep_forgotten: MinKeepForgotten => sample_k::matches_reference;
    dropped_unsorted: DroppedUnsorted => sample_k::matches_reference;
    draws_depend_on_the_batch: ChoiceUlpInBatches => sample_k::is_batch_invariant;
    draw_that_takes_the_best: PickForgotten => choose::gives_the_bits_of_top_k_and_sample;
    draw_from_nothing: DrawnNothing => choose::bears_rows_without_a_distribution;
    other_lookups_forgotten: OthersForgotten => choose::embed_chosen_gives_the_bits_of_embed;
    endings_forgotten: EndingsForgotten => choose::beams_go_on_with_the_best;
    last_of_equals_first: LastOfEqualsFirst => choose::beams_go_on_with_the_best;
    parents_forgotten: ParentsForgotten => choose::beams_go_on_with_the_best;
    parents_forgotten_by_the_cache: ParentsForgotten => cache::follows_what_was_chosen;
    any_temperature: AnyTemperature => errors::are_those_of_the_reference;
    bf16_back_in_f32: BackInF32 => train::linear::backward_matches_reference;
    masters_not_packed_again: RepackForgotten => train::linear::packs_again;
    norms_not_renewed: RepackForgotten => train::norm::backward_matches_reference;
    result_kept_for_the_sums: ResultKept => train::linear::forward_is_linear;
    slope_forgotten: SlopeForgotten => train::linear::backward_matches_reference;
    gradient_replaced: GradientReplaced => train::linear::backward_matches_reference;
    bias_gradient_forgotten: BiasGradientForgotten => train::linear::backward_matches_reference;
    other_elements_dropped_on_the_way_back: DropoutElsewhere => train::linear::backward_matches_reference;
    other_probabilities_dropped: DropoutElsewhere => train::attention::backward_matches_reference;
    kept_elements_unscaled: KeptUnscaled => train::loss::dropout_matches_reference;
    ids_counted_once: IdsCountedOnce => train::embed::backward_matches_reference;
    looked_up_unscaled: LookedUpUnscaled => train::embed::backward_matches_reference;
    norm_gradient_off: NormGradientOff => train::norm::backward_matches_reference;
    gradients_of_coarse_factors: FactorsOfFourBits => train::attention::backward_matches_reference;
    gradients_to_a_memory_of_coarse_factors: FactorsOfFourBits => train::attention::cross_backward_matches_reference;
    back_to_what_follows: BackBidirectional => train::attention::backward_matches_reference;
    rotated_back_unscaled: RotaryScaleForgotten => train::attention::backward_matches_reference;
    gradients_to_the_first_source: FirstSourceForAll => train::attention::cross_backward_matches_reference;
    gradients_to_sorted_rows: RowsSorted => train::embed::rows_and_pools_match_reference;
    gradient_to_the_first_row: LastIsFirst => train::embed::rows_and_pools_match_reference;
    gates_kept_without_their_sign: ResultKept => train::recurrent::forward_is_recur;
    recurrence_back_in_f32: BackInF32 => train::recurrent::backward_matches_reference;
    gradient_of_the_last_state_forgotten: LastGradientForgotten => train::recurrent::backward_matches_reference;
    gradient_of_the_first_state_forgotten: FirstGradientForgotten => train::recurrent::backward_matches_reference;
    first_state_forgotten_on_the_way_back: StateForgotten => train::recurrent::backward_matches_reference;
    reset_gate_forgotten_in_du: ResetForgotten => train::recurrent::backward_matches_reference;
    recurrent_bias_gradient_forgotten: BiasGradientForgotten => train::recurrent::backward_matches_reference;
    passes_forgotten: PassesForgotten => train::recurrent::passes_are_summed;
    recurrence_not_packed_again: RepackForgotten => train::recurrent::packs_again;
    additive_weights_kept_off: ResultKept => train::additive::backward_matches_reference;
    additive_gradients_to_the_first_source: FirstSourceForAll => train::additive::backward_matches_reference;
    additive_gradient_replaced: GradientReplaced => train::additive::backward_matches_reference;
    additive_vector_not_renewed: RepackForgotten => train::additive::renews;
    gradient_to_the_first_columns: ColumnsFromTheFirst => train::columns::backwards_match_reference;
    gradient_of_the_first_rows: LastIsFirst => train::columns::backwards_match_reference;
    gradient_of_the_first_tap: OverlapForgotten => train::windows::backward_matches_reference;
    gradient_of_positions_depends_on_the_batch: WindowsBackUlpInBatches => train::windows::backward_is_batch_invariant;
    gradient_of_positions_replaced: GradientReplaced => train::windows::backward_matches_reference;
    smoothing_over_others: SmoothingOfOthers => train::loss::matches_reference;
    ignored_targets_counted: IgnoredCounted => train::loss::matches_reference;
    steps_from_zero: StepsFromZero => train::optimiser::adamw_matches_reference;
    gradient_unscaled: GradientUnscaled => train::optimiser::adamw_matches_reference;
    decay_forgotten: DecayForgotten => train::optimiser::sgd_matches_reference;
    update_unclipped: UpdateUnclipped => train::optimiser::adafactor_matches_reference;
    one_iteration_less: OneIterationLess => train::muon::matches_reference;
    update_of_the_momentum: UpdateOfTheMomentum => train::muon::matches_reference;
    update_unscaled: UpdateUnscaled => train::muon::matches_reference;
    orthogonalised_in_f32: Bf16AsF32 => train::muon::matches_reference;
    norm_for_squares: NormForSquares => train::optimiser::squares_are_summed;
}

#[test]
fn instances_that_differ_by_an_ulp() {
    for fault in
        [Fault::LinearOneUlp, Fault::NormUlpInBatches, Fault::StepOneUlp, Fault::RecurUlpInBatches]
    {
        assert!(same_bits(&Reference, &Mutant(fault)).is_err(), "{fault:?} went unnoticed");
    }
}
