//! What the compiling process takes away from itself before it looks at a component.
//!
//! The resource limits are a must. The rest (no network, few system calls) is taken where the system allows it: it stands
//! behind the fact that a compiler has nothing to do with either, and its absence is not a reason to compile nothing. But
//! it is the operator's to know: whoever took over a compiler that kept them reads files and dials out as the host.

use std::io;

use rustix::process::{Resource, Rlimit, setpriority_process, setrlimit};

/// Behind everybody who waits for an answer, guests included.
const NICENESS: i32 = 15;

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
    let _ = setpriority_process(None, NICENESS);
    Ok(())
}

/// A network namespace of its own, with nothing in it. False where the system does not give one.
pub(super) fn network() -> bool {
    use rustix::thread::UnshareFlags;
    // SAFETY: neither flag unshares the descriptor table, which is what the function is unsafe about; and no other thread
    // exists yet.
    let alone = |flags| unsafe { rustix::thread::unshare_unsafe(flags) };
    // Without privileges the namespace needs a user namespace around it.
    alone(UnshareFlags::NEWNET).or_else(|_| alone(UnshareFlags::NEWUSER | UnshareFlags::NEWNET)).is_ok()
}

/// From here on only what a compiler needs: memory, the open pipes, the clock. Everything else fails with "not permitted".
/// False where the system has no such filters.
pub(super) fn calls() -> bool {
    let filter = filter(std::process::id());
    let Ok(length) = u16::try_from(filter.len()) else { return false };
    let program = libc::sock_fprog { len: length, filter: filter.as_ptr().cast_mut() };
    // SAFETY: two calls of prctl(2) as its page describes them; `program` and what it points to live until it returns,
    // and the kernel copies both.
    unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
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

/// A classic BPF program over the kernel's `seccomp_data`: the number stands at 0, the architecture at 4, the first argument
/// at 16, its lower half first.
fn filter(own_process: u32) -> Vec<libc::sock_filter> {
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let skip_unless =
        |k: u32, jf: u8| libc::sock_filter { code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16, jt: 0, jf, k };
    let load = |at: u32| statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, at);
    let answer = |what: u32| statement(libc::BPF_RET | libc::BPF_K, what);
    let refused = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;

    // Each comparison falls through to the answer after it when it holds, and steps over it when it does not.
    let mut program = vec![load(4), skip_unless(ARCHITECTURE, 1), load(0)];
    // Another architecture's call: the number was not loaded, the accumulator still holds the architecture, and no call
    // has that number; so it is refused at the end.
    for call in ALLOWED {
        if let Ok(number) = u32::try_from(*call) {
            program.extend([skip_unless(number, 1), answer(libc::SECCOMP_RET_ALLOW)]);
        }
    }
    // What abort() does, so that running out of memory still looks like it: a signal, to this process and no other. The
    // parent is the same user, so the kernel itself would let it through.
    if let Ok(tgkill) = u32::try_from(libc::SYS_tgkill) {
        let to_itself = [load(16), skip_unless(own_process, 1), answer(libc::SECCOMP_RET_ALLOW)];
        program.push(skip_unless(tgkill, to_itself.len() as u8));
        program.extend(to_itself);
    }
    program.push(answer(refused));
    program
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs::File;

    /// Signal 0 is no signal: only whether one may be sent is asked.
    fn may_signal(process: u32, thread: libc::pid_t) -> bool {
        // SAFETY: tgkill(2) takes three numbers and sends nothing here.
        unsafe { libc::syscall(libc::SYS_tgkill, process as libc::pid_t, thread, 0) == 0 }
    }

    /// Mutation: `calls`, an empty body that says either; `ALLOWED` with `SYS_socket`, `SYS_openat` or `SYS_tgkill`; `filter`,
    /// without `to_itself`.
    #[test]
    fn after_the_call_filter_there_is_no_network_no_file_and_nobody_to_signal() {
        let system = std::fs::read_to_string("/proc/self/status").unwrap();
        let has_filters = system.contains("Seccomp_filters:");
        let parent = std::os::unix::process::parent_id();
        // A filter binds the thread that asks for it, so this one alone.
        let tried = std::thread::spawn(move || {
            // SAFETY: gettid(2) takes nothing.
            let own_thread = unsafe { libc::gettid() };
            let could = may_signal(parent, parent as libc::pid_t);
            let taken = super::calls();
            // SAFETY: socket(2) takes three numbers.
            let socket = match unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0) } {
                -1 => Err(std::io::Error::last_os_error().kind()),
                _ => Ok(()),
            };
            let file = File::open("/etc/passwd").map(|_| ()).map_err(|fault| fault.kind());
            let signals = (may_signal(std::process::id(), own_thread), may_signal(parent, parent as libc::pid_t));
            (taken, socket, file, could, signals, vec![1u8; 1 << 20].len())
        });
        let (taken, socket, file, could, signals, memory) = tried.join().unwrap();
        assert_eq!(taken, has_filters);
        let expected = if has_filters { Err(std::io::ErrorKind::PermissionDenied) } else { Ok(()) };
        assert_eq!((socket, file), (expected, expected));
        assert_eq!(signals, (true, could && !has_filters), "to itself, to its parent");
        assert_eq!(memory, 1 << 20);
    }
}
