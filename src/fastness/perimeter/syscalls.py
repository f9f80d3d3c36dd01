"""The system calls a sealed process may make: name, number on x86-64, number on AArch64 (`-`: there is none).

A closed table. A call that is not in it does not exist inside: the kernel answers ENOSYS, as an older kernel would, so
that libraries fall back. That covers io_uring, ptrace, bpf, mount, unshare, keyctl, module loading and every call that
later kernels add. Some are left out because Landlock does not judge them: chmod, chown, setxattr and truncate by path
work on any file of the same owner, inotify watches any directory, memfd_create makes files that may be executed, and
connect reaches any Unix socket in the file system (a bus, a container engine, another replica). The hottest come first.
"""

from __future__ import annotations

ARCHITECTURES = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}
"""The machines we know, with the AUDIT_ARCH_* number that a filter sees."""

_ALLOWED = """
futex 202 98            read 0 63               write 1 64              mprotect 10 226         poll 7 -
ppoll 271 73            clock_gettime 228 113   clock_nanosleep 230 115 sched_yield 24 124      madvise 28 233
recvfrom 45 207         sendto 44 206           recvmsg 47 212          sendmsg 46 211          lseek 8 62
readv 19 65             writev 20 66            pread64 17 67           pwrite64 18 68          preadv 295 69
pwritev 296 70          close 3 57              close_range 436 436     dup 32 23               dup2 33 -
dup3 292 24             pipe 22 -               pipe2 293 59            eventfd2 290 19         select 23 -
pselect6 270 72         epoll_create1 291 20    epoll_ctl 233 21        epoll_wait 232 -        epoll_pwait 281 22
epoll_pwait2 441 441    timerfd_create 283 85   timerfd_settime 286 86  timerfd_gettime 287 87  signalfd4 289 74
sendfile 40 71

open 2 -                openat 257 56           openat2 437 437         stat 4 -                lstat 6 -
fstat 5 80              newfstatat 262 79       statx 332 291           access 21 -             faccessat 269 48
faccessat2 439 439      readlink 89 -           readlinkat 267 78       getdents64 217 61       getcwd 79 17
chdir 80 49             fchdir 81 50            mkdir 83 -              mkdirat 258 34          rmdir 84 -
unlink 87 -             unlinkat 263 35         rename 82 -             renameat 264 38         renameat2 316 276
link 86 -               linkat 265 37           ftruncate 77 46         fallocate 285 47        fsync 74 82
fdatasync 75 83         fadvise64 221 223       flock 73 32             statfs 137 43           fstatfs 138 44
umask 95 166

mmap 9 222              munmap 11 215           mremap 25 216           brk 12 214              msync 26 227
mlock 149 228           mlock2 325 284          munlock 150 229         membarrier 324 283
get_mempolicy 239 236

set_robust_list 273 99  rseq 334 293            set_tid_address 218 96  arch_prctl 158 -        futex_waitv 449 449
exit 60 93              exit_group 231 94       gettid 186 178          getcpu 309 168
sched_getaffinity 204 123                       sched_getparam 143 121  sched_getscheduler 145 120
sched_get_priority_max 146 125                  sched_get_priority_min 147 126                  getpriority 140 141
wait4 61 260            waitid 247 95           restart_syscall 219 128 execve 59 221

rt_sigaction 13 134     rt_sigprocmask 14 135   rt_sigreturn 15 139     rt_sigpending 127 136
rt_sigtimedwait 128 137 rt_sigsuspend 130 133   sigaltstack 131 132     pause 34 -              alarm 37 -
setitimer 38 103        getitimer 36 102        timer_create 222 107    timer_settime 223 110
timer_gettime 224 108   timer_getoverrun 225 109                        timer_delete 226 111    nanosleep 35 101
clock_getres 229 114    gettimeofday 96 169     time 201 -              times 100 153

getpid 39 172           getppid 110 173         getuid 102 174          geteuid 107 175         getgid 104 176
getegid 108 177         getresuid 118 148       getresgid 120 150       getgroups 115 158       getpgrp 111 -
getpgid 121 155         getsid 124 156          capget 125 90           getrlimit 97 163        getrusage 98 165
sysinfo 99 179          uname 63 160            getrandom 318 278

bind 49 200             listen 50 201           accept 43 202           accept4 288 242         shutdown 48 210
getsockname 51 204      getpeername 52 205      setsockopt 54 208       getsockopt 55 209       recvmmsg 299 243
sendmmsg 307 269
"""

_FAMILY = """
connect 42 203          fork 57 -               vfork 58 -              setsid 112 157          setpgid 109 154
sched_setscheduler 144 119                      sched_setparam 142 118  setpriority 141 140     set_mempolicy 238 237
epoll_create 213 -      eventfd 284 -           preadv2 327 286         pwritev2 328 287        copy_file_range 326 285
mbind 237 235           migrate_pages 256 238   mincore 27 232          pidfd_open 434 434
pidfd_send_signal 424 424
"""
"""What a family may beside this: it has processes, and speaks over its loopback. Raw sockets need a right it lacks."""

_CONDITIONAL = """
socket 41 198           socketpair 53 199       clone 56 220            kill 62 129             tgkill 234 131
prctl 157 167           ioctl 16 29             fcntl 72 25             prlimit64 302 261
sched_setaffinity 203 122
"""


def allowed_numbers(machine: str) -> dict[str, int]:
    """Return the calls that are always allowed on `machine`; raises KeyError for one we do not know."""
    return _column(_ALLOWED, machine)


def family_numbers(machine: str) -> dict[str, int]:
    """Return the calls that are always allowed to a family beside these; raises KeyError for a machine unknown."""
    return _column(_FAMILY, machine)


def conditional_numbers(machine: str) -> dict[str, int]:
    """Return the calls that are allowed with some arguments only; raises KeyError for a machine we do not know."""
    return _column(_CONDITIONAL, machine)


def _column(table: str, machine: str) -> dict[str, int]:
    column = {"x86_64": 1, "aarch64": 2}[machine]
    words = table.split()
    rows = [words[start : start + 3] for start in range(0, len(words), 3)]
    return {row[0]: int(row[column]) for row in rows if row[column] != "-"}
