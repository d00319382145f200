use super::*;

#[test]
fn three_parts_are_the_number() {
    // Every exponent, with the last bits of either half set or not.
    for exponent in 24..255_u32 {
        for mantissa in [0, 1, 0x7f_ffff, 0x7f_8000, 0x00_8001, 0x55_5555, 0x2a_aaaa, 0x00_0101] {
            for sign in [0, 1 << 31] {
                let v = f32::from_bits(sign | exponent << 23 | mantissa);
                let parts = parts_of(v).map(f32::from_bits);
                assert!(parts.iter().all(|p| p.to_bits() & !HIGH == 0), "{v:e}: no bf16");
                assert!(parts.iter().all(|p| !p.is_subnormal()), "{v:e}: tiles would drop a part");
                let sum: f64 = parts.iter().map(|&p| f64::from(p)).sum();
                assert_eq!(sum.to_bits(), f64::from(v).to_bits(), "{v:e}");
            }
        }
    }
}

#[test]
fn of_small_numbers_less_than_the_smallest_normal_one_is_dropped() {
    for bits in (0..24 << 23).step_by(997) {
        let v = f32::from_bits(bits);
        let kept = parts_of(v).map(f32::from_bits).map(|p| if p.is_subnormal() { 0.0 } else { p });
        let sum: f64 = kept.iter().map(|&p| f64::from(p)).sum();
        assert!((sum - f64::from(v)).abs() < f64::from(f32::MIN_POSITIVE), "{v:e} became {sum:e}");
    }
}

#[test]
fn what_is_not_finite_stays_so() {
    for v in [f32::INFINITY, f32::NEG_INFINITY] {
        assert_eq!(parts_of(v), [v.to_bits(), 0, 0]);
    }
    for bits in [0x7f80_0001, 0xff80_0001, 0x7fff_ffff] {
        let [high, middle, low] = parts_of(f32::from_bits(bits));
        assert!(f32::from_bits(high).is_nan() && (middle, low) == (0, 0));
    }
    let parts = parts_of(f32::MAX).map(f32::from_bits);
    assert!(parts.iter().all(|p| p.is_finite()));
}
