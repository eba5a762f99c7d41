//! Every level against f64 and against the definitions in [`Simd`].

use super::*;
use crate::kernels::round::upper_half;
use seq2seq_core::Activation;
use seq2seq_core::reference::activation::apply;

/// `f` of every value of `x`.
struct Map<'a, F> {
    x: &'a [f32],
    f: F,
}

/// A function of one vector; closures cannot be generic over the level.
trait Lanewise {
    fn of<S: Simd>(&self, s: S, x: S::V) -> S::V;
}

impl<F: Lanewise> Kernel for Map<'_, F> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Vec<f32> {
        let mut out = vec![f32::NAN; self.x.len()];
        for (x, y) in self.x.chunks(S::LANES).zip(out.chunks_mut(S::LANES)) {
            if x.len() == S::LANES {
                s.store(self.f.of(s, s.load(x)), y);
            } else {
                s.store_partial(self.f.of(s, s.load_partial(x, 1.0)), y);
            }
        }
        out
    }
}

struct Exp;
impl Lanewise for Exp {
    #[inline(always)]
    fn of<S: Simd>(&self, s: S, x: S::V) -> S::V {
        math::exp(s, x)
    }
}

struct Activate(Activation);
impl Lanewise for Activate {
    #[inline(always)]
    fn of<S: Simd>(&self, s: S, x: S::V) -> S::V {
        math::activate(s, self.0, x)
    }
}

fn ramp(low: f32, high: f32, count: usize) -> Vec<f32> {
    (0..count).map(|i| low + (high - low) * i as f32 / (count - 1) as f32).collect()
}

/// The largest error relative to `want`, in units of `f32::EPSILON`; below `floor` magnitudes count as `floor`.
fn error(x: &[f32], got: &[f32], floor: f64, want: impl Fn(f64) -> f64) -> f64 {
    let each = x.iter().zip(got).map(|(&x, &y)| {
        let want = want(f64::from(x));
        (f64::from(y) - want).abs() / want.abs().max(floor) / f64::from(f32::EPSILON)
    });
    each.fold(0.0, f64::max)
}

fn each_level(mut check: impl FnMut(Isa)) {
    Isa::available().into_iter().for_each(&mut check);
}

const SMALLEST: f64 = f32::MIN_POSITIVE as f64;

#[test]
fn exp_is_accurate() {
    each_level(|isa| {
        for x in [ramp(-87.3, 88.7, 200_003), ramp(-1.0, 1.0, 100_003)] {
            let e = error(&x, &dispatch(isa, Map { x: &x, f: Exp }), SMALLEST, f64::exp);
            assert!(e < 1.5, "{isa}: {e}");
        }
        // Subnormal results lose bits, no more than their spacing.
        let x = ramp(-104.0, -87.3, 10_001);
        let got = dispatch(isa, Map { x: &x, f: Exp });
        for (x, y) in x.iter().zip(got) {
            assert!((f64::from(y) - f64::from(*x).exp()).abs() < 2.9e-45, "{isa}: exp({x}) = {y}");
        }
    });
}

#[test]
fn exp_has_its_limits() {
    let x = [f32::INFINITY, 100.0, 0.0, -0.0, -200.0, f32::NEG_INFINITY, f32::NAN];
    each_level(|isa| {
        let y = dispatch(isa, Map { x: &x, f: Exp });
        assert_eq!(y[..6], [f32::INFINITY, f32::INFINITY, 1.0, 1.0, 0.0, 0.0], "{isa}");
        assert!(y[6].is_nan(), "{isa}");
    });
}

#[test]
fn activations_are_accurate() {
    use Activation::*;
    let near = ramp(-1.0, 12.0, 200_003);
    let far = ramp(-9.0, -1.0, 100_003);
    for (activation, near_bound, far_bound) in
        [(Relu, 0.0, 0.0), (QuickGelu, 2.0, 7.0), (Silu, 1.5, 1.5), (Tanh, 1.5, 1.0)]
    {
        each_level(|isa| {
            for (x, bound) in [(&near, near_bound), (&far, far_bound)] {
                let got = dispatch(isa, Map { x, f: Activate(activation) });
                let e = error(x, &got, SMALLEST, |x| apply(activation, x));
                // Without a fused multiplication the dropped part of a square cannot be recovered.
                let bound = if isa == Isa::Scalar { bound * 5.0 } else { bound };
                assert!(e <= bound, "{activation:?} {isa}: {e} units, stated {bound}");
            }
        });
    }
}

#[test]
fn gelu_is_accurate() {
    let near = ramp(-3.25, 12.0, 400_003);
    let far = ramp(-40.0, -3.25, 400_003);
    for activation in [Activation::Gelu, Activation::GeluTanh] {
        each_level(|isa| {
            let of = |x: &[f32]| dispatch(isa, Map { x, f: Activate(activation) });
            let e = error(&near, &of(&near), SMALLEST, |x| apply(activation, x));
            assert!(e <= 3.0, "{activation:?} {isa}: {e} units");
            let off = |(&x, y): (&f32, f32)| f64::from(y) - apply(activation, f64::from(x));
            let e = far.iter().zip(of(&far)).map(off).fold(0.0, |most, e| e.abs().max(most));
            assert!(e <= (-31_f64).exp2(), "{activation:?} {isa}: off by {e:e}");
        });
    }
}

#[test]
fn activations_have_their_limits() {
    use Activation::*;
    let x = [f32::NEG_INFINITY, -1e30, 0.0, 1e30, f32::INFINITY, f32::NAN];
    for activation in [Relu, Gelu, GeluTanh, QuickGelu, Silu, Tanh] {
        each_level(|isa| {
            let got = dispatch(isa, Map { x: &x, f: Activate(activation) });
            let want: Vec<_> = x.iter().map(|&x| apply(activation, f64::from(x)) as f32).collect();
            assert_eq!(got[..5], want[..5], "{activation:?} {isa}");
            assert!(got[5].is_nan(), "{activation:?} {isa}");
        });
    }
}

/// Every operation on vectors of small integers, against the same on single values.
struct Operations;
impl Kernel for Operations {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let value = |i: usize, k: usize| ((i * k + 3) % 11) as f32 - 5.0;
        let lanes = |k: usize| -> Vec<f32> { (0..S::LANES).map(|i| value(i, k)).collect() };
        let (a, b, c) = (lanes(7), lanes(5), lanes(3));
        let (x, y, z) = (s.load(&a), s.load(&b), s.load(&c));
        let check = |name: &str, got: S::V, want: &dyn Fn(f32, f32, f32) -> f32| {
            let mut out = [0.0; MAX_LANES];
            s.store(got, &mut out);
            for i in 0..S::LANES {
                assert_eq!(out[i], want(a[i], b[i], c[i]), "{name} lane {i} of {}", S::LANES);
            }
        };
        check("add", s.add(x, y), &|a, b, _| a + b);
        check("sub", s.sub(x, y), &|a, b, _| a - b);
        check("mul", s.mul(x, y), &|a, b, _| a * b);
        check("div", s.div(x, s.splat(4.0)), &|a, _, _| a / 4.0);
        check("fma", s.fma(x, y, z), &|a, b, c| a * b + c);
        check("max", s.max(x, y), &|a, b, _| a.max(b));
        check("min", s.min(x, y), &|a, b, _| a.min(b));
        check("abs", s.abs(x), &|a, _, _| a.abs());
        check("copysign", s.copysign(x, y), &|a, b, _| a.copysign(b));
        check("round", s.round(s.mul(x, s.splat(0.5))), &|a, _, _| (a * 0.5).round_ties_even());
        check("pow2", s.pow2(x), &|a, _, _| a.exp2());
        // Subnormal and huge results, and rounding to even among subnormals.
        for n in [-150.0, -149.0, -140.0, -127.0, -126.0, -1.0, 0.0, 127.0, 128.0] {
            let want = |a: f32| (f64::from(a) * f64::from(n).exp2()) as f32;
            let near = s.load(&ramp(0.71, 0.04, 16));
            let mut got = [0.0; MAX_LANES];
            s.store(s.scale(near, s.splat(n)), &mut got);
            for (got, a) in got[..S::LANES].iter().zip(ramp(0.71, 0.04, 16)) {
                assert_eq!(*got, want(a), "{a} 2^{n}");
            }
        }
        let table: [f32; 16] = std::array::from_fn(|i| 0.5 - i as f32);
        let index = |v: S::V| s.add(v, s.splat(12_582_912.0 + 32.0));
        let at = |i: f32| table[(i as i32 & 15) as usize];
        check("pick", s.pick(&table, index(x)), &|a, _, _| at(a));
        check("pick", s.pick(&table, index(s.sub(s.mul(x, y), z))), &|a, b, c| at(a * b - c));
        check("lt", s.select(s.lt(x, y), x, z), &|a, b, c| if a < b { a } else { c });
        check("eq", s.select(s.eq(x, y), x, z), &|a, b, c| if a == b { a } else { c });
        assert!(
            s.all(s.eq(x, x)) && !s.all(s.lt(x, x)) && !s.all(s.eq(x, s.load(&ramp(0.0, 1.0, 16))))
        );
        for (half, got) in s.interleave(x, y).into_iter().enumerate() {
            let mut out = [0.0; MAX_LANES];
            s.store(got, &mut out);
            for (i, out) in out[..S::LANES].iter().enumerate() {
                let at = half * S::LANES + i;
                assert_eq!(*out, [a[at / 2], b[at / 2]][at % 2], "interleave place {at}");
            }
        }
        assert_eq!(s.reduce_add(x), a.iter().sum::<f32>());
        assert_eq!(s.reduce_max(x), a.iter().copied().fold(-9.0, f32::max));
        let nan = s.splat(f32::NAN);
        assert!(s.reduce_add(s.max(x, nan)).is_nan() && s.reduce_add(s.min(x, nan)).is_nan());
        for n in 0..S::LANES {
            let mut out = vec![9.0; n];
            s.store_partial(s.load_partial(&a[..n], 7.0), &mut out);
            assert_eq!(out, a[..n]);
            let sum = a[..n].iter().sum::<f32>() + 7.0 * (S::LANES - n) as f32;
            assert_eq!(s.reduce_add(s.load_partial(&a[..n], 7.0)), sum);
        }
    }
}

#[test]
fn operations_are_those_of_single_values() {
    each_level(|isa| dispatch(isa, Operations));
}

/// Every value rounded to bf16, stored as it is and by its upper half.
struct ToBf16<'a>(&'a [f32]);

impl Kernel for ToBf16<'_> {
    type Output = (Vec<f32>, Vec<u16>);

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Self::Output {
        let (mut values, mut halves) = (vec![0.0; self.0.len()], vec![0; self.0.len()]);
        for at in (0..self.0.len()).step_by(S::LANES) {
            let rounded = s.to_bf16(s.load(&self.0[at..]));
            s.store(rounded, &mut values[at..]);
            s.store_upper(rounded, &mut halves[at..]);
        }
        (values, halves)
    }
}

#[test]
fn vectors_are_rounded_to_bf16_as_single_values_are() {
    // Each exponent with either sign, beside ties, and NaNs.
    let mut bits: Vec<u32> = (0..512)
        .flat_map(|e| [0, 0x8000, 0x1_8000, 0x7fff, 0x7f_ffff].map(|m| e << 23 | m))
        .collect();
    bits.resize(bits.len().next_multiple_of(MAX_LANES), 1);
    let x: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
    let want: Vec<u32> = x.iter().map(|&x| upper_half(x)).collect();
    each_level(|isa| {
        let (values, halves) = dispatch(isa, ToBf16(&x));
        for (i, &want) in want.iter().enumerate() {
            assert_eq!(
                (values[i].to_bits(), u32::from(halves[i])),
                (want << 16, want),
                "{isa}: {:e}",
                x[i]
            );
        }
    });
}
