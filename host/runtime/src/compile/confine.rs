//! What the compiling process takes away from itself before it looks at a component.
//!
//! The resource limits are a must. The rest (no network, few system calls) is taken where the system allows it: it stands
//! behind the fact that a compiler has nothing to do with either, and its absence is not a reason to compile nothing.

use std::io;

use rustix::process::{Resource, Rlimit, setpriority_process, setrlimit};

/// Memory and CPU time of this process; no core dumps, no files, few descriptors.
pub(super) fn limits(memory_bytes: u64, cpu_seconds: u64) -> io::Result<()> {
    let at_most = |limit| Rlimit { current: Some(limit), maximum: Some(limit) };
    setrlimit(Resource::As, at_most(memory_bytes))?;
    // The soft limit says SIGXCPU, which the parent can tell from a crash; the hard one a second later says SIGKILL.
    let cpu = Rlimit { current: Some(cpu_seconds), maximum: Some(cpu_seconds.saturating_add(1)) };
    setrlimit(Resource::Cpu, cpu)?;
    setrlimit(Resource::Core, at_most(0))?;
    setrlimit(Resource::Fsize, at_most(0))?;
    setrlimit(Resource::Nofile, at_most(32))?;
    // Politeness is no condition. (The parent kills this process when it loses interest; a signal on the parent's death
    // would come when the *thread* that started it ends, which in an async runtime means nothing.)
    let _ = setpriority_process(None, 10);
    Ok(())
}

/// A network namespace of its own, with nothing in it.
pub(super) fn network() {
    use rustix::thread::UnshareFlags;
    // SAFETY: neither flag unshares the descriptor table, which is what the function is unsafe about; and no other thread
    // exists yet.
    let alone = |flags| unsafe { rustix::thread::unshare_unsafe(flags) };
    if alone(UnshareFlags::NEWNET).is_err() {
        // Without privileges the namespace needs a user namespace around it.
        let _ = alone(UnshareFlags::NEWUSER | UnshareFlags::NEWNET);
    }
}

/// From here on only what a compiler needs: memory, the open pipes, the clock. Everything else fails with "not permitted".
pub(super) fn calls() {
    let filter = filter();
    let Ok(length) = u16::try_from(filter.len()) else { return };
    let program = libc::sock_fprog { len: length, filter: filter.as_ptr().cast_mut() };
    // SAFETY: two calls of prctl(2) as its page describes them; `program` and what it points to live until it returns,
    // and the kernel copies both.
    unsafe {
        if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 {
            libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program);
        }
    }
}

/// The system calls of a process that reads, computes, writes and ends.
const ALLOWED: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_lseek,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_clock_gettime,
    libc::SYS_getrandom,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_getpid,
    libc::SYS_gettid,
    // What abort() does, so that running out of memory still looks like it.
    libc::SYS_tgkill,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;
/// No filter is written for others: nothing matches, and every call would be refused.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("name this architecture's AUDIT_ARCH value here");

/// A classic BPF program over the kernel's `seccomp_data`: the number stands at 0, the architecture at 4.
fn filter() -> Vec<libc::sock_filter> {
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let skip_next_if =
        |k: u32| libc::sock_filter { code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16, jt: 0, jf: 1, k };
    let load = |at: u32| statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, at);
    let answer = |what: u32| statement(libc::BPF_RET | libc::BPF_K, what);
    let refused = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;

    // Each comparison falls through to the answer after it when it holds, and steps over it when it does not.
    let mut program = vec![load(4), skip_next_if(ARCHITECTURE), load(0)];
    // Another architecture's call: the number was not loaded, the accumulator still holds the architecture, and no call
    // has that number; so it is refused at the end.
    for call in ALLOWED {
        if let Ok(number) = u32::try_from(*call) {
            program.extend([skip_next_if(number), answer(libc::SECCOMP_RET_ALLOW)]);
        }
    }
    program.push(answer(refused));
    program
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs::File;
    use std::net::TcpListener;

    #[test]
    fn after_the_call_filter_there_is_no_network_and_no_file() {
        // A filter binds the thread that asks for it, so this one alone.
        let tried = std::thread::spawn(|| {
            super::calls();
            let socket = TcpListener::bind("127.0.0.1:0").map(|_| ()).map_err(|fault| fault.kind());
            let file = File::open("/etc/passwd").map(|_| ()).map_err(|fault| fault.kind());
            let memory = vec![1u8; 1 << 20].len();
            (socket, file, memory)
        });
        let (socket, file, memory) = tried.join().unwrap();
        // Where the system has no such filters, nothing was promised.
        if socket.is_err() {
            assert_eq!(socket, Err(std::io::ErrorKind::PermissionDenied));
            assert_eq!(file, Err(std::io::ErrorKind::PermissionDenied));
        }
        assert_eq!(memory, 1 << 20);
    }
}
