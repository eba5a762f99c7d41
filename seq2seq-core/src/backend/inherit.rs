//! Backends made of others.

/// Inside an `impl` of one of the traits of a backend: the named types and operations are those of the backend in a field.
///
/// What is not named is written out, and may differ. So a backend that changes one operation, counts calls or looks at what goes
/// through is that operation and a list of names:
///
/// ```
/// use seq2seq_core::{Backend, Epilogue, Result, Rows, inherit};
/// use std::sync::{Arc, atomic::{AtomicUsize, Ordering}};
///
/// /// Counts the rows that linear layers are given.
/// #[derive(Clone)]
/// struct Counting<B> {
///     inner: B,
///     rows: Arc<AtomicUsize>,
/// }
///
/// impl<B: Backend> Backend for Counting<B> {
///     inherit! { inner: B =>
///         Tensor, Linear, Norm, Embedding,
///         describe, formats, device_memory, upload, download, pack, embedding, embed, norm_weights, norm, gather_rows, pool,
///         dropout, step, observe
///     }
///
///     fn linear(&self, x: &B::Tensor, layer: &B::Linear, epilogue: Epilogue<'_, B::Tensor>) -> Result<B::Tensor> {
///         self.rows.fetch_add(x.rows(), Ordering::Relaxed);
///         self.inner.linear(x, layer, epilogue)
///     }
/// }
/// # use seq2seq_core::{Format, HostTensor, LinearSpec, reference::Reference};
/// # let counting = Counting { inner: Reference, rows: Arc::default() };
/// # let layer = counting.pack(&LinearSpec::single(HostTensor::from_f32(vec![1, 1], &[2.0])?, None), Format::F32)?;
/// # counting.linear(&counting.upload(&HostTensor::from_f32(vec![3, 1], &[1.0; 3])?)?, &layer, Epilogue::NONE)?;
/// # assert_eq!(counting.rows.load(Ordering::Relaxed), 3);
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[macro_export]
macro_rules! inherit {
    ($field:ident: $inner:ty => $($name:ident),+ $(,)?) => {
        $( $crate::inherit! { @ $name $field $inner } )+
    };
    (@ Tensor $field:ident $inner:ty) => {
        type Tensor = <$inner as $crate::Backend>::Tensor;
    };
    (@ Linear $field:ident $inner:ty) => {
        type Linear = <$inner as $crate::Backend>::Linear;
    };
    (@ Norm $field:ident $inner:ty) => {
        type Norm = <$inner as $crate::Backend>::Norm;
    };
    (@ Embedding $field:ident $inner:ty) => {
        type Embedding = <$inner as $crate::Backend>::Embedding;
    };
    (@ RelativeBias $field:ident $inner:ty) => {
        type RelativeBias = <$inner as $crate::EncoderOps>::RelativeBias;
    };
    (@ KvCache $field:ident $inner:ty) => {
        type KvCache = <$inner as $crate::DecoderOps>::KvCache;
    };
    (@ Chosen $field:ident $inner:ty) => {
        type Chosen = <$inner as $crate::DecoderOps>::Chosen;
    };
    (@ Memory $field:ident $inner:ty) => {
        type Memory = <$inner as $crate::CrossAttentionOps>::Memory;
    };
    (@ Recurrent $field:ident $inner:ty) => {
        type Recurrent = <$inner as $crate::RecurrentOps>::Recurrent;
    };
    (@ Additive $field:ident $inner:ty) => {
        type Additive = <$inner as $crate::RecurrentOps>::Additive;
    };
    (@ AdditiveMemory $field:ident $inner:ty) => {
        type AdditiveMemory = <$inner as $crate::RecurrentOps>::AdditiveMemory;
    };
    (@ describe $field:ident $inner:ty) => {
        fn describe(&self) -> String {
            $crate::Backend::describe(&self.$field)
        }
    };
    (@ formats $field:ident $inner:ty) => {
        fn formats(&self) -> &'static [$crate::Format] {
            $crate::Backend::formats(&self.$field)
        }
    };
    (@ device_memory $field:ident $inner:ty) => {
        fn device_memory(&self) -> $crate::Result<Option<$crate::DeviceMemory>> {
            $crate::Backend::device_memory(&self.$field)
        }
    };
    (@ upload $field:ident $inner:ty) => {
        fn upload(&self, host: &$crate::HostTensor) -> $crate::Result<Self::Tensor> {
            $crate::Backend::upload(&self.$field, host)
        }
    };
    (@ download $field:ident $inner:ty) => {
        fn download(&self, x: &Self::Tensor) -> $crate::Result<Vec<f32>> {
            $crate::Backend::download(&self.$field, x)
        }
    };
    (@ pack $field:ident $inner:ty) => {
        fn pack(
            &self,
            spec: &$crate::LinearSpec,
            format: $crate::Format,
        ) -> $crate::Result<Self::Linear> {
            $crate::Backend::pack(&self.$field, spec, format)
        }
    };
    (@ linear $field:ident $inner:ty) => {
        fn linear(
            &self,
            x: &Self::Tensor,
            layer: &Self::Linear,
            epilogue: $crate::Epilogue<'_, Self::Tensor>,
        ) -> $crate::Result<Self::Tensor> {
            $crate::Backend::linear(&self.$field, x, layer, epilogue)
        }
    };
    (@ feed_forward $field:ident $inner:ty) => {
        fn feed_forward(
            &self,
            x: &Self::Tensor,
            layers: [&Self::Linear; 2],
            epilogues: [$crate::Epilogue<'_, Self::Tensor>; 2],
        ) -> $crate::Result<Self::Tensor> {
            $crate::Backend::feed_forward(&self.$field, x, layers, epilogues)
        }
    };
    (@ embedding $field:ident $inner:ty) => {
        fn embedding(&self, table: &$crate::HostTensor) -> $crate::Result<Self::Embedding> {
            $crate::Backend::embedding(&self.$field, table)
        }
    };
    (@ embed $field:ident $inner:ty) => {
        fn embed(
            &self,
            lookups: &[$crate::Lookup<'_, Self::Embedding>],
        ) -> $crate::Result<Self::Tensor> {
            $crate::Backend::embed(&self.$field, lookups)
        }
    };
    (@ norm_weights $field:ident $inner:ty) => {
        fn norm_weights(&self, spec: &$crate::NormSpec) -> $crate::Result<Self::Norm> {
            $crate::Backend::norm_weights(&self.$field, spec)
        }
    };
    (@ norm $field:ident $inner:ty) => {
        fn norm(&self, x: &Self::Tensor, norm: &Self::Norm) -> $crate::Result<Self::Tensor> {
            $crate::Backend::norm(&self.$field, x, norm)
        }
    };
    (@ gather_rows $field:ident $inner:ty) => {
        fn gather_rows(&self, x: &Self::Tensor, rows: &[usize]) -> $crate::Result<Self::Tensor> {
            $crate::Backend::gather_rows(&self.$field, x, rows)
        }
    };
    (@ pool $field:ident $inner:ty) => {
        fn pool(
            &self,
            x: &Self::Tensor,
            rows: &$crate::Ragged,
            pool: $crate::Pool,
        ) -> $crate::Result<Self::Tensor> {
            $crate::Backend::pool(&self.$field, x, rows, pool)
        }
    };
    (@ dropout $field:ident $inner:ty) => {
        fn dropout(&self, x: Self::Tensor, rate: f32) -> $crate::Result<Self::Tensor> {
            $crate::Backend::dropout(&self.$field, x, rate)
        }
    };
    (@ step $field:ident $inner:ty) => {
        fn step<T, E: From<$crate::Error>>(
            &self,
            work: impl FnOnce() -> $crate::Result<T, E>,
        ) -> $crate::Result<T, E> {
            $crate::Backend::step(&self.$field, work)
        }
    };
    (@ observe $field:ident $inner:ty) => {
        fn observe(&self, stage: $crate::Stage, x: &Self::Tensor) -> $crate::Result<()> {
            $crate::Backend::observe(&self.$field, stage, x)
        }
    };
    (@ relative_bias $field:ident $inner:ty) => {
        fn relative_bias(
            &self,
            table: &$crate::HostTensor,
            spec: $crate::BucketSpec,
        ) -> $crate::Result<Self::RelativeBias> {
            $crate::EncoderOps::relative_bias(&self.$field, table, spec)
        }
    };
    (@ attend $field:ident $inner:ty) => {
        fn attend(
            &self,
            qkv: &Self::Tensor,
            rows: &$crate::Ragged,
            spec: &$crate::AttentionSpec,
            bias: Option<&Self::RelativeBias>,
        ) -> $crate::Result<Self::Tensor> {
            $crate::EncoderOps::attend(&self.$field, qkv, rows, spec, bias)
        }
    };
    (@ kv_cache $field:ident $inner:ty) => {
        fn kv_cache(&self, spec: &$crate::CacheSpec) -> $crate::Result<Self::KvCache> {
            $crate::DecoderOps::kv_cache(&self.$field, spec)
        }
    };
    (@ extend $field:ident $inner:ty) => {
        fn extend(&self, cache: &mut Self::KvCache, rows: &$crate::Ragged) -> $crate::Result<()> {
            $crate::DecoderOps::extend(&self.$field, cache, rows)
        }
    };
    (@ attend_step $field:ident $inner:ty) => {
        fn attend_step(
            &self,
            qkv: &Self::Tensor,
            rows: &$crate::Ragged,
            cache: &mut Self::KvCache,
            layer: usize,
            spec: &$crate::AttentionSpec,
            bias: Option<&Self::RelativeBias>,
        ) -> $crate::Result<Self::Tensor> {
            $crate::DecoderOps::attend_step(&self.$field, qkv, rows, cache, layer, spec, bias)
        }
    };
    (@ reorder $field:ident $inner:ty) => {
        fn reorder(&self, cache: &mut Self::KvCache, parents: &[usize]) -> $crate::Result<()> {
            $crate::DecoderOps::reorder(&self.$field, cache, parents)
        }
    };
    (@ top_k $field:ident $inner:ty) => {
        fn top_k(
            &self,
            logits: &Self::Tensor,
            k: usize,
            order: $crate::ScoreOrder,
            rules: &[Vec<$crate::LogitRule>],
        ) -> $crate::Result<$crate::TopK> {
            $crate::DecoderOps::top_k(&self.$field, logits, k, order, rules)
        }
    };
    (@ sample $field:ident $inner:ty) => {
        fn sample(
            &self,
            logits: &Self::Tensor,
            rules: &[Vec<$crate::LogitRule>],
            warp: &$crate::Warp,
            uniforms: &[f32],
        ) -> $crate::Result<$crate::Sampled> {
            $crate::DecoderOps::sample(&self.$field, logits, rules, warp, uniforms)
        }
    };
    (@ sample_k $field:ident $inner:ty) => {
        fn sample_k(
            &self,
            logits: &Self::Tensor,
            k: usize,
            order: $crate::ScoreOrder,
            rules: &[Vec<$crate::LogitRule>],
            warp: &$crate::Warp,
            seeds: &[u64],
        ) -> $crate::Result<$crate::TopK> {
            $crate::DecoderOps::sample_k(&self.$field, logits, k, order, rules, warp, seeds)
        }
    };
    (@ chooses_ahead $field:ident $inner:ty) => {
        fn chooses_ahead(&self) -> bool {
            $crate::DecoderOps::chooses_ahead(&self.$field)
        }
    };
    (@ choose $field:ident $inner:ty) => {
        fn choose(
            &self,
            logits: &Self::Tensor,
            rules: &[Vec<$crate::LogitRule>],
            pick: &$crate::Pick<'_>,
        ) -> $crate::Result<Self::Chosen> {
            $crate::DecoderOps::choose(&self.$field, logits, rules, pick)
        }
    };
    (@ chosen $field:ident $inner:ty) => {
        fn chosen(&self, chosen: &Self::Chosen) -> $crate::Result<$crate::Picked> {
            $crate::DecoderOps::chosen(&self.$field, chosen)
        }
    };
    (@ embed_chosen $field:ident $inner:ty) => {
        fn embed_chosen(
            &self,
            table: (&Self::Embedding, f32),
            chosen: &Self::Chosen,
            others: &[$crate::Lookup<'_, Self::Embedding>],
        ) -> $crate::Result<Self::Tensor> {
            $crate::DecoderOps::embed_chosen(&self.$field, table, chosen, others)
        }
    };
    (@ reorder_chosen $field:ident $inner:ty) => {
        fn reorder_chosen(
            &self,
            cache: &mut Self::KvCache,
            chosen: &Self::Chosen,
        ) -> $crate::Result<()> {
            $crate::DecoderOps::reorder_chosen(&self.$field, cache, chosen)
        }
    };
    (@ gather_chosen $field:ident $inner:ty) => {
        fn gather_chosen(
            &self,
            x: &Self::Tensor,
            chosen: &Self::Chosen,
        ) -> $crate::Result<Option<Self::Tensor>> {
            $crate::DecoderOps::gather_chosen(&self.$field, x, chosen)
        }
    };
    (@ memory $field:ident $inner:ty) => {
        fn memory(
            &self,
            kv: &Self::Tensor,
            rows: &$crate::Ragged,
            spec: &$crate::AttentionSpec,
        ) -> $crate::Result<Self::Memory> {
            $crate::CrossAttentionOps::memory(&self.$field, kv, rows, spec)
        }
    };
    (@ cross_attend $field:ident $inner:ty) => {
        fn cross_attend(
            &self,
            q: &Self::Tensor,
            rows: &$crate::Ragged,
            memory: &Self::Memory,
            sources: &[usize],
            spec: &$crate::AttentionSpec,
            weights: Option<&mut Vec<f32>>,
        ) -> $crate::Result<Self::Tensor> {
            $crate::CrossAttentionOps::cross_attend(&self.$field, q, rows, memory, sources, spec, weights)
        }
    };
    (@ recurrent $field:ident $inner:ty) => {
        fn recurrent(
            &self,
            spec: &$crate::RecurrentSpec,
            format: $crate::Format,
        ) -> $crate::Result<Self::Recurrent> {
            $crate::RecurrentOps::recurrent(&self.$field, spec, format)
        }
    };
    (@ recur $field:ident $inner:ty) => {
        fn recur(
            &self,
            x: &Self::Tensor,
            rows: &$crate::Ragged,
            layer: &Self::Recurrent,
            state: Option<&Self::Tensor>,
        ) -> $crate::Result<(Self::Tensor, Self::Tensor)> {
            $crate::RecurrentOps::recur(&self.$field, x, rows, layer, state)
        }
    };
    (@ columns $field:ident $inner:ty) => {
        fn columns(
            &self,
            parts: &[$crate::Part<'_, Self::Tensor>],
        ) -> $crate::Result<Self::Tensor> {
            $crate::RecurrentOps::columns(&self.$field, parts)
        }
    };
    (@ stack_rows $field:ident $inner:ty) => {
        fn stack_rows(&self, parts: &[&Self::Tensor]) -> $crate::Result<Self::Tensor> {
            $crate::RecurrentOps::stack_rows(&self.$field, parts)
        }
    };
    (@ windows $field:ident $inner:ty) => {
        fn windows(
            &self,
            x: &Self::Tensor,
            grids: &[$crate::Grid],
            windows: &$crate::Windows,
        ) -> $crate::Result<Self::Tensor> {
            $crate::ConvolutionOps::windows(&self.$field, x, grids, windows)
        }
    };
    (@ additive $field:ident $inner:ty) => {
        fn additive(&self, v: &$crate::HostTensor) -> $crate::Result<Self::Additive> {
            $crate::RecurrentOps::additive(&self.$field, v)
        }
    };
    (@ additive_memory $field:ident $inner:ty) => {
        fn additive_memory(
            &self,
            keys: &Self::Tensor,
            values: &Self::Tensor,
            rows: &$crate::Ragged,
        ) -> $crate::Result<Self::AdditiveMemory> {
            $crate::RecurrentOps::additive_memory(&self.$field, keys, values, rows)
        }
    };
    (@ additive_attend $field:ident $inner:ty) => {
        fn additive_attend(
            &self,
            q: &Self::Tensor,
            rows: &$crate::Ragged,
            v: &Self::Additive,
            memory: &Self::AdditiveMemory,
            sources: &[usize],
            weights: Option<&mut Vec<f32>>,
        ) -> $crate::Result<Self::Tensor> {
            $crate::RecurrentOps::additive_attend(&self.$field, q, rows, v, memory, sources, weights)
        }
    };
}
