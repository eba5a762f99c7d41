//! The kernels: `<op>.cu` and, beside it, its safe launchers. Nothing else launches.

pub(crate) mod additive;
pub(crate) mod additive_back;
pub(crate) mod angles;
pub(crate) mod attention;
pub(crate) mod attention_along;
pub(crate) mod attention_back;
pub(crate) mod attention_back_bf16;
pub(crate) mod attention_back_keys;
pub(crate) mod attention_back_keys_bf16;
pub(crate) mod attention_back_plan;
pub(crate) mod attention_back_queries;
pub(crate) mod attention_back_queries_bf16;
pub(crate) mod attention_back_rows;
pub(crate) mod attention_back_table;
pub(crate) mod attention_bf16;
pub(crate) mod attention_bf16_dropped;
pub(crate) mod attention_dropped;
pub(crate) mod attention_log_sums;
pub(crate) mod attention_merge;
pub(crate) mod attention_plan;
pub(crate) mod attention_rotate;
pub(crate) mod attention_split;
pub(crate) mod attention_weights;
pub(crate) mod beams;
pub(crate) mod best;
pub(crate) mod best_merge;
pub(crate) mod chosen;
pub(crate) mod columns;
pub(crate) mod cross_entropy;
pub(crate) mod elementwise;
pub(crate) mod embed;
pub(crate) mod kv_parents;
pub(crate) mod kv_store;
pub(crate) mod linear;
pub(crate) mod linear_back;
mod linear_cost;
pub(crate) mod linear_wgmma;
pub(crate) mod norm;
pub(crate) mod norm_back;
pub(crate) mod norm_rows;
pub(crate) mod operands;
pub(crate) mod optimiser;
pub(crate) mod pack;
pub(crate) mod pool;
pub(crate) mod recurrent;
pub(crate) mod recurrent_back;
pub(crate) mod recurrent_back_chip;
pub(crate) mod recurrent_chip;
pub(crate) mod rows;
pub(crate) mod rule_scores;
pub(crate) mod sample;
pub(crate) mod sample_k;
pub(crate) mod windows;

/// Threads of a block that goes over `width` columns: whole warps, 256 at most.
pub(crate) fn column_threads(width: usize) -> usize {
    width.next_multiple_of(32).clamp(32, 256)
}

#[cfg(test)]
mod tests {
    #[test]
    fn columns_are_gone_over_by_whole_warps() {
        assert_eq!([0, 1, 32, 33, 4096].map(super::column_threads), [32, 32, 32, 64, 256]);
    }
}
