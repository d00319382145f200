//! The memory bandwidth of some devices, by their names: what a decoded token is measured against.

/// Part of a device's name, and its bandwidth in GB/s, from the vendors' data sheets.
const BANDWIDTHS: [(&str, f64); 18] = [
    ("H200", 4800.0),
    ("H100 80GB HBM3", 3350.0),
    ("H100 PCIe", 2000.0),
    ("A100-SXM4-80GB", 2039.0),
    ("A100 80GB PCIe", 1935.0),
    ("L40S", 864.0),
    ("RTX 5090", 1792.0),
    ("RTX 4090", 1008.0),
    ("RTX 4080 SUPER", 736.0),
    ("RTX 3090 Ti", 1008.0),
    ("RTX 3090", 936.0),
    ("MI300X", 5300.0),
    ("RX 7900 XTX", 960.0),
    ("RX 9070 XT", 640.0),
    ("Arc(TM) B580", 456.0),
    ("M2 Ultra", 800.0),
    ("M3 Ultra", 819.0),
    ("M1 Ultra", 800.0),
];

/// The bandwidth in GB/s of the device in a backend's name, if it is known.
pub(super) fn bandwidth(backend: &str) -> Option<f64> {
    BANDWIDTHS.iter().find(|(name, _)| backend.contains(name)).map(|&(_, peak)| peak)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_longer_name_is_met_before_its_part() {
        let of = |name: &str| bandwidth(&format!("gpu f32 on NVIDIA {name} (Vulkan)"));
        assert_eq!(of("GeForce RTX 3090 Ti"), Some(1008.0));
        assert_eq!(of("GeForce RTX 3090"), Some(936.0));
        assert_eq!(of("GeForce GT 710"), None);
    }
}
