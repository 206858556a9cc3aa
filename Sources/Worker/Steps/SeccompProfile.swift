/// The system calls that a sandboxed step may make: equivalent to Docker's default profile for its capabilities.
///
/// What is not named gives EPERM. Left out, because they need a capability that steps do not have or reach over the
/// container's border: mounting, new namespaces, kernel modules, BPF, the kernel's keyrings, clocks, io_uring, swap,
/// userfaultfd, NUMA policy, reboot. Source: Docker's documentation of its default seccomp profile.
enum SeccompProfile {
    private static let allowed = """
        _llseek _newselect accept accept4 access adjtimex alarm arch_prctl bind brk cachestat capget capset chdir chmod
        chown chown32 chroot clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime
        clock_gettime64 clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2
        dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old
        eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate
        fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr
        flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate
        ftruncate64 futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake futimesat get_robust_list
        get_thread_area getcpu getcwd getdents getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups
        getgroups32 getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid getresgid32
        getresuid getresuid32 getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday getuid getuid32
        getxattr getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy
        io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit ioctl ioprio_get ioprio_set ipc kill
        landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lchown32 lgetxattr link linkat listen
        listmount listxattr listxattrat llistxattr lremovexattr lseek lsetxattr lsm_get_self_attr lsm_list_modules
        lsm_set_self_attr lstat lstat64 madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir
        mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2 modify_ldt mprotect mq_getsetattr mq_notify mq_open
        mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget
        msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep newfstatat open openat openat2 pause
        pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl pread64
        preadv preadv2 prlimit64 process_mrelease process_vm_readv process_vm_writev pselect6 pselect6_time64 ptrace
        pwrite64 pwritev pwritev2 read readahead readdir readlink readlinkat readv recv recvfrom recvmmsg
        recvmmsg_time64 recvmsg remap_file_pages removexattr removexattrat rename renameat renameat2 restart_syscall
        rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
        rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min sched_getaffinity
        sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64
        sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp select semctl semget semop
        semtimedop semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto set_robust_list set_thread_area
        set_tid_address setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid
        setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid
        setsockopt setuid setuid32 setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaction sigaltstack signal
        signalfd signalfd4 sigpending sigprocmask sigreturn sigsuspend socketcall socketpair splice stat stat64 statfs
        statfs64 statmount statx symlink symlinkat sync sync_file_range sync_file_range2 syncfs syscall sysinfo tee
        tgkill time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime
        timer_settime64 timerfd timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times
        tkill truncate truncate64 ugetrlimit umask uname unlink unlinkat uretprobe utime utimensat utimensat_time64
        utimes vfork vmsplice wait4 waitid waitpid write writev
        """

    /// What happens to the calls of a rule.
    enum Action: Hashable {
        case allow
        /// The call returns this errno.
        case errno(UInt16)
    }

    /// A condition on one argument of a call, by its position from 0.
    enum Condition: Hashable {
        case equal(argument: UInt32, UInt64)
        case notEqual(argument: UInt32, UInt64)
        case masked(argument: UInt32, mask: UInt64, value: UInt64)
    }

    struct Rule {
        var calls: [String]
        var action = Action.allow
        var condition: Condition?
    }

    /// CLONE_NEW* flags of clone(2) but CLONE_NEWTIME, which shares a bit with the exit signal.
    private static let namespaceFlags: UInt64 = 0x7E02_0000
    /// Personalities that change nothing about security: Linux, 32-bit and UNAME26 ones, and the query.
    private static let personalities: [UInt64] = [0x0, 0x8, 0x20000, 0x20008, 0xFFFF_FFFF]
    /// AF_VSOCK reaches the hypervisor, past the network namespace.
    private static let vsockFamily: UInt64 = 40

    /// EPERM, for every call that no rule names.
    static let defaultAction = Action.errno(1)
    private static let notImplemented = Action.errno(38)

    /// Names as libseccomp has them (seccomp_arch_resolve_name(3)), the node's own first.
    static var architectures: [String] {
        #if arch(arm64)
        ["aarch64", "arm"]
        #else
        ["x86_64", "x86", "x32"]
        #endif
    }

    static let rules: [Rule] =
        [Rule(calls: allowed.split { $0 == " " || $0 == "\n" }.map(String.init))]
        + personalities.map { Rule(calls: ["personality"], condition: .equal(argument: 0, $0)) }
        + [
            Rule(calls: ["socket"], condition: .notEqual(argument: 0, vsockFamily)),
            Rule(calls: ["clone"], condition: .masked(argument: 0, mask: namespaceFlags, value: 0)),
            // The C library falls back to clone, whose flags a filter can see, only on ENOSYS.
            Rule(calls: ["clone3"], action: notImplemented),
        ]

    /// The profile as the runtime's configuration has it (OCI runtime spec, `linux.seccomp`).
    static let specification: JSONText = .object(
        members(of: defaultAction, key: "defaultAction", code: "defaultErrnoRet") + [
            ("architectures", .strings(architectures.map { "SCMP_ARCH_" + $0.uppercased() })),
            ("syscalls", .array(rules.map(json))),
        ])

    private static func members(of action: Action, key: String, code: String) -> [(String, JSONText)] {
        switch action {
        case .allow: [(key, "SCMP_ACT_ALLOW")]
        case .errno(let number): [(key, "SCMP_ACT_ERRNO"), (code, .number(Int64(number)))]
        }
    }

    private static func json(_ rule: Rule) -> JSONText {
        .object(
            [("names", .strings(rule.calls))] + members(of: rule.action, key: "action", code: "errnoRet")
                + [("args", .array(rule.condition.map { [json($0)] } ?? []))])
    }

    private static func json(_ condition: Condition) -> JSONText {
        let (index, value, second, operation): (UInt32, UInt64, UInt64, JSONText) =
            switch condition {
            case .equal(let argument, let value): (argument, value, 0, "SCMP_CMP_EQ")
            case .notEqual(let argument, let value): (argument, value, 0, "SCMP_CMP_NE")
            case .masked(let argument, let mask, let value): (argument, mask, value, "SCMP_CMP_MASKED_EQ")
            }
        return .object([
            ("index", .unsigned(UInt64(index))), ("value", .unsigned(value)), ("valueTwo", .unsigned(second)),
            ("op", operation),
        ])
    }
}
