//! A steady decode step allocates nothing but what it returns to the host. A program of its own: the allocator that counts is
//! that of the whole process, and another test beside it would be counted too.

mod counting;

use counting::allocations;
use seq2seq_core::{
    Activation, AttentionSpec, Backend, BucketSpec, CacheSpec, Cell, CrossAttentionOps, DecoderOps,
    EncoderOps, Epilogue, Format, HostTensor, LinearPart, LinearSpec, Lookup, NormKind, NormSpec,
    Part, Precision, Ragged, RecurrentOps, RecurrentSpec, Result, Rotary, ScoreOrder, Warp,
};
use seq2seq_cpu::{
    Additive, AdditiveMemory, Cpu, CpuOptions, Embedding, KvCache, Linear, Memory, Norm, Recurrent,
    RelativeBias, Tensor,
};

const M: usize = 48;
const VOCAB: usize = 200;
const BEAMS: usize = 3;
const STEPS: usize = 70;

fn tensor(shape: &[usize]) -> HostTensor {
    let count: usize = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|i| ((i * 37) % 41) as f32 / 40.0 - 0.5).collect();
    HostTensor::from_f32(shape.to_vec(), &values).unwrap()
}

/// One decoder layer with everything in it.
struct Decoder {
    cpu: Cpu,
    table: Embedding,
    norm: Norm,
    linears: [Linear; 4],
    spec: AttentionSpec,
    bias: RelativeBias,
    memory: Memory,
    warps: [Warp; 2],
}

impl Decoder {
    fn new(threads: usize, format: Format) -> Result<Self> {
        let cpu = Cpu::new(CpuOptions { threads: Some(threads), isa: None })?;
        let spec = AttentionSpec {
            heads: 4,
            kv_heads: 2,
            head_dim: 12,
            scale: 0.3,
            causal: true,
            rotary: None,
            dropout: 0.0,
            precision: Precision::F32,
        };
        let pack = |output: usize| {
            cpu.pack(&LinearSpec::single(tensor(&[output, M]), Some(tensor(&[output]))), format)
        };
        let norm = NormSpec {
            kind: NormKind::Layer,
            eps: 1e-5,
            weight: tensor(&[M]),
            bias: Some(tensor(&[M])),
        };
        let buckets = BucketSpec { buckets: 32, max_distance: 128, bidirectional: false };
        let source = cpu.upload(&tensor(&[20, 2 * spec.kv_width()]))?;
        Ok(Self {
            table: cpu.embedding(&tensor(&[VOCAB, M]))?,
            norm: cpu.norm_weights(&norm)?,
            linears: [pack(spec.qkv_width())?, pack(M)?, pack(M)?, pack(VOCAB)?],
            bias: cpu.relative_bias(&tensor(&[32, 4]), buckets)?,
            memory: cpu.memory(&source, &Ragged::from_lengths([20]), &spec)?,
            warps: [
                Warp { min_keep: 2, ..Warp::default() },
                Warp { top_k: 50, top_p: 0.9, min_p: 0.01, typical_p: 0.9, ..Warp::default() },
            ],
            spec,
            cpu,
        })
    }

    fn cache(&self) -> Result<KvCache> {
        self.cpu.kv_cache(&CacheSpec {
            layers: 1,
            kv_heads: 2,
            head_dim: 12,
            sequences: 1,
            beams: BEAMS,
            capacity: STEPS,
            precision: Precision::F32,
        })
    }

    fn step(&self, cache: &mut KvCache, rows: &Ragged, ids: &mut [u32]) -> Result<()> {
        let (cpu, count) = (&self.cpu, rows.rows());
        let lookup = Lookup { table: &self.table, ids: &ids[..count], scale: 2.0 };
        let x = cpu.embed(&[lookup])?;
        let y = cpu.norm(&x, &self.norm)?;
        let qkv = cpu.linear(&y, &self.linears[0], Epilogue::NONE)?;
        cpu.extend(cache, rows)?;
        let y = cpu.attend_step(&qkv, rows, cache, 0, &self.spec, Some(&self.bias))?;
        let x = cpu.linear(&y, &self.linears[1], Epilogue::residual(&x))?;
        let q = cpu.linear(&x, &self.linears[2], Epilogue::activation(Activation::Gelu))?;
        let sources = &[0; BEAMS][..count];
        let spec = AttentionSpec { rotary: None, ..self.spec.clone() };
        let y = cpu.cross_attend(&q, rows, &self.memory, sources, &spec, None)?;
        let logits = cpu.linear(&y, &self.linears[3], Epilogue::NONE)?;
        let best = cpu.top_k(&logits, 4, ScoreOrder::NormaliseThenRules, &[])?;
        ids[..count].copy_from_slice(&best.ids[..count]);
        let (order, seeds) = (ScoreOrder::NormaliseThenRules, &[7; BEAMS][..count]);
        for warp in &self.warps {
            cpu.sample_k(&logits, 4, order, &[], warp, seeds)?;
        }
        Ok(())
    }

    /// A beam search that changes its mind at every step. Gives what each step allocated once the batch had grown to all
    /// beams.
    fn decode(&self, cache: &mut KvCache) -> Result<Vec<usize>> {
        let mut counts = Vec::with_capacity(STEPS);
        let mut ids = [1; BEAMS];
        let (one, all) = (Ragged::single_rows(1), Ragged::single_rows(BEAMS));
        self.step(cache, &one, &mut ids)?;
        self.cpu.reorder(cache, &[0; BEAMS])?;
        for step in 1..STEPS {
            let before = allocations();
            self.step(cache, &all, &mut ids)?;
            let parents = [[1, 0, 0], [2, 1, 0], [0, 1, 2], [1, 1, 2]][step % 4];
            self.cpu.reorder(cache, &parents)?;
            if step > 1 {
                counts.push(allocations() - before);
            }
        }
        Ok(counts)
    }
}

/// A decoder of one recurrent layer that reads the context which its state asks for.
struct RecurrentDecoder {
    cpu: Cpu,
    table: Embedding,
    input: Linear,
    recurrent: Recurrent,
    output: Linear,
    logits: Linear,
    v: Additive,
    memory: AdditiveMemory,
}

impl RecurrentDecoder {
    fn new(cell: Cell, format: Format) -> Result<Self> {
        let cpu = Cpu::new(CpuOptions { threads: Some(1), isa: None })?;
        let part = |outputs: usize, inputs: usize| LinearPart {
            weight: tensor(&[outputs, inputs]),
            bias: Some(tensor(&[outputs])),
            transposed: false,
        };
        let pack = |outputs, inputs| {
            let parts = vec![part(outputs, inputs)];
            cpu.pack(&LinearSpec { parts, gated: false, scale: 1.0 }, format)
        };
        let gates = cell.gates() * M;
        let spec = RecurrentSpec { cell, directions: vec![part(gates, M)] };
        let source = cpu.upload(&tensor(&[20, M]))?;
        Ok(Self {
            table: cpu.embedding(&tensor(&[VOCAB, M]))?,
            input: pack(gates, 2 * M)?,
            recurrent: cpu.recurrent(&spec, format)?,
            output: pack(M, 2 * M)?,
            logits: pack(VOCAB, M)?,
            v: cpu.additive(&tensor(&[M]))?,
            memory: cpu.additive_memory(&source, &source, &Ragged::from_lengths([20]))?,
            cpu,
        })
    }

    /// Feeds `ids` and gives the state behind them.
    fn step(&self, state: &Tensor, rows: &Ragged, ids: &mut [u32]) -> Result<Tensor> {
        let cpu = &self.cpu;
        let x = cpu.embed(&[Lookup { table: &self.table, ids, scale: 1.0 }])?;
        let before = cpu.columns(&[Part { tensor: state, columns: 0..M }])?;
        let sources = &[0; BEAMS];
        let context = cpu.additive_attend(&before, rows, &self.v, &self.memory, sources, None)?;
        let x = cpu.columns(&[Part::all(&x), Part::all(&context)])?;
        let x = cpu.linear(&x, &self.input, Epilogue::NONE)?;
        let (x, state) = cpu.recur(&x, rows, &self.recurrent, Some(state))?;
        let x = cpu.columns(&[Part::all(&context), Part::all(&x)])?;
        let x = cpu.linear(&x, &self.output, Epilogue::activation(Activation::Tanh))?;
        let logits = cpu.linear(&x, &self.logits, Epilogue::NONE)?;
        let best = cpu.top_k(&logits, 1, ScoreOrder::NormaliseThenRules, &[])?;
        ids.copy_from_slice(&best.ids);
        Ok(state)
    }

    /// What each step allocates, the hypotheses being exchanged behind it.
    fn decode(&self, cell: Cell) -> Result<Vec<usize>> {
        let (rows, mut ids) = (Ragged::single_rows(BEAMS), [1; BEAMS]);
        let mut state = self.cpu.upload(&tensor(&[BEAMS, cell.vectors() * M]))?;
        let mut counts = Vec::with_capacity(STEPS);
        for step in 0..STEPS {
            let before = allocations();
            state = self.step(&state, &rows, &mut ids)?;
            state = self.cpu.gather_rows(&state, &[[1, 0, 0], [2, 1, 0]][step % 2])?;
            counts.push(allocations() - before);
        }
        Ok(counts)
    }
}

/// The first decoding of a thread may allocate, a little at a time as its context grows; the next finds all it needs.
/// (One thread: how much of the work the others get, and need memory for, is chance. One test: counts are global.)
#[test]
fn steady_steps_allocate_only_their_results() -> Result<()> {
    for (format, rotary) in [
        (Format::F32, None),
        (Format::Bf16, None),
        (Format::F16, None),
        (Format::Int8, None),
        (Format::Int4, None),
        (Format::F32, Some(Rotary { inv_freq: [1.0, 0.1].into(), scale: 1.0 })),
    ] {
        let mut decoder = Decoder::new(1, format)?;
        decoder.spec.rotary = rotary;
        let (mut first, mut second) = (decoder.cache()?, decoder.cache()?);
        decoder.decode(&mut first)?;
        let counts = decoder.decode(&mut second)?;
        // The ids and scores of the best, and of what is drawn twice.
        assert!(counts.iter().all(|&n| n == 6), "{format}: {counts:?}");
    }
    for cell in Cell::ALL {
        for format in Format::ALL {
            let decoder = RecurrentDecoder::new(cell, format)?;
            decoder.decode(cell)?;
            let counts = decoder.decode(cell)?;
            // The ids and scores of the best.
            assert!(counts.iter().all(|&n| n == 2), "{cell:?} {format}: {counts:?}");
        }
    }
    Ok(())
}
