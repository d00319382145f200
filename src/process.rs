//! What is set for the whole process before anything else runs.

/// Sets it.
pub(crate) fn set_up() {
    #[cfg(all(feature = "gpu", target_os = "linux"))]
    quieten_mesa();
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    keep_freed_memory();
}

/// Mesa's layer that chooses a GPU for a desktop complains on standard error where there is no
/// desktop. The device is chosen here, so the layer is not needed.
#[cfg(all(feature = "gpu", target_os = "linux"))]
fn quieten_mesa() {
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        #[expect(unsafe_code, reason = "the only way to tell a layer of the driver")]
        // SAFETY: called first in `main`, when no other thread runs that could read the environment.
        unsafe {
            std::env::set_var("NODEVICE_SELECT", "1");
        }
    }
}

/// Activations of a prompt take some tens of MiB each. glibc would give them back to the system as soon as
/// they are freed, which clears each of their pages again for the next layer.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn keep_freed_memory() {
    #[expect(unsafe_code, reason = "settings of the allocator")]
    // SAFETY: takes numbers; that it may refuse them changes nothing but speed.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 64 << 20);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 256 << 20);
    }
}
