//! The container's file system: an overlay of layers, what every Linux program expects, and the caller's mounts.
//!
//! Sources on the host are opened before the root changes, targets are looked up after it, so no symbolic link in an
//! image can lead a mount out of the container.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags, fsconfig_create, fsmount, fsopen, mount, mount_bind_recursive,
    mount_change, move_mount, open_tree, unmount,
};
use rustix::process::{chdir, pivot_root};

use super::beneath::{Inside, Reach};
use super::driver;
use super::init::HOST_NAME;
use super::overlay::Directories;
use super::spec::Spec;
use crate::Access;
use crate::gpus::MountOption;
use crate::supervisor::Failure;

/// As the reference gives its containers.
const SHM_SIZE: &str = "mode=1777,size=6g";

const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// What the host's resolver needs; the image's own are hidden while the container runs.
const RESOLVER: &str = "/etc/resolv.conf";
const HOSTS: &str = "/etc/hosts";

const CA_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// As OCI runtimes hide them.
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
const CONTROL_GROUPS: &str = "/sys/fs/cgroup";

/// As OCI runtimes protect them. Root's files stay root's in a container that root started: without this it could
/// change the host's kernel settings.
const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// Everything that is mounted below the root, or made there for the container's sake.
pub(super) fn targets(spec: &Spec) -> impl Iterator<Item = String> {
    let fixed = ["/proc", "/sys", "/dev", RESOLVER, HOSTS]
        .into_iter()
        .map(str::to_owned);
    let bundle = spec.ca_bundle.iter().map(|_| CA_BUNDLE.to_owned());
    let mounts = spec.mounts.iter().map(|mount| mount.target.clone());
    let gpus = spec.gpus.mounts.iter().map(|mount| mount.target.clone());
    fixed
        .chain(bundle)
        .chain(gpus)
        .chain(mounts)
        .chain([spec.working_dir.clone()])
}

/// A mount of something on the host that waits for its place.
struct Pending {
    tree: OwnedFd,
    target: String,
    directory: bool,
}

/// Makes the file system and enters it. In a process with all rights in its user namespace.
pub(super) fn set_up(spec: &Spec, directories: &Directories) -> Result<(), Failure> {
    // SAFETY: a system call without pointers.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
        return Err(Failure::last("make a mount namespace"));
    }
    mount_change(
        "/",
        MountPropagationFlags::REC | MountPropagationFlags::PRIVATE,
    )
    .map_err(Failure::at("keep mounts to ourselves"))?;
    directories.mount(&spec.layers)?;
    let proc = new_proc().map_err(Failure::at("make `/proc`"))?;
    let pending = open_sources(spec, directories)?;
    chdir(directories.root()).map_err(Failure::at("enter the root"))?;
    pivot_root(".", ".").map_err(Failure::at("change the root"))?;
    // The host's root now lies on top of ours, and `..` in a link of the image would lead there: it has to go before
    // any path of the image is looked up.
    unmount(".", UnmountFlags::DETACH).map_err(Failure::at("leave the host's root"))?;
    chdir("/").map_err(Failure::at("enter the root"))?;
    let inside = Inside::open().map_err(Failure::at("open the root"))?;
    let proc = Pending {
        tree: proc,
        target: "/proc".into(),
        directory: true,
    };
    place(&inside, &proc).map_err(Failure::at("mount at `/proc`"))?;
    mount_kernel_file_systems(&inside)?;
    for mount in pending {
        place(&inside, &mount).map_err(Failure::at(format!("mount at `{}`", mount.target)))?;
    }
    driver::make_known(&spec.gpus)?;
    hide_kernel_files()?;
    inside
        .directory(Path::new(&spec.working_dir), Reach::Mounts)
        .map_err(Failure::at(format!("make `{}`", spec.working_dir)))?;
    Ok(())
}

/// The processes of our PID namespace. The kernel gives them only where the host's own are in sight.
fn new_proc() -> io::Result<OwnedFd> {
    let context = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    let plain = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, plain)?)
}

/// Opens all that is to be mounted, in the order of mounting.
fn open_sources(spec: &Spec, directories: &Directories) -> Result<Vec<Pending>, Failure> {
    let mut pending = Vec::new();
    let mut add = |source: &Path, target: &str, attributes: u64| {
        pending.push(open_source(source, target, attributes)?);
        Ok::<(), Failure>(())
    };
    if Path::new("/sys/kernel").exists() {
        let plain = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
        add(Path::new("/sys"), "/sys", READ_ONLY_ATTRIBUTE | plain)?;
    }
    for device in DEVICES {
        let path = format!("/dev/{device}");
        add(Path::new(&path), &path, DEVICE_ATTRIBUTES)?;
    }
    for node in &spec.gpus.nodes {
        add(&node.source, &node.target, DEVICE_ATTRIBUTES)?;
    }
    // A link leads into the host's own directories, such as systemd's.
    if let Ok(source) = fs_err::canonicalize(RESOLVER) {
        add(&source, RESOLVER, READ_ONLY_ATTRIBUTE)?;
    }
    add(&hosts(directories)?, HOSTS, READ_ONLY_ATTRIBUTE)?;
    if let Some(bundle) = &spec.ca_bundle {
        add(bundle, CA_BUNDLE, READ_ONLY_ATTRIBUTE)?;
    }
    for mount in &spec.gpus.mounts {
        let attributes = mount
            .options
            .iter()
            .fold(0, |all, option| all | attribute(*option));
        add(&mount.source, &mount.target, attributes)?;
    }
    for (index, mount) in spec.mounts.iter().enumerate() {
        pending.push(match mount.access {
            Access::ReadOnly => open_source(&mount.source, &mount.target, READ_ONLY_ATTRIBUTE)?,
            Access::ReadWrite => open_source(&mount.source, &mount.target, 0)?,
            Access::Layered => Pending {
                tree: directories.layered(index, &mount.source)?,
                target: mount.target.clone(),
                directory: true,
            },
        });
    }
    Ok(pending)
}

fn open_source(source: &Path, target: &str, attributes: u64) -> Result<Pending, Failure> {
    if !target.starts_with('/') {
        let reason = "the place in the container must be an absolute path".into();
        return Err(Failure {
            step: format!("mount at `{target}`"),
            reason,
        });
    }
    let step = || {
        Failure::at(format!(
            "open `{}` to mount it at `{target}`",
            source.display()
        ))
    };
    // The metadata's own error would name the path again.
    let directory =
        rustix::fs::stat(source).map_err(step())?.st_mode & libc::S_IFMT == libc::S_IFDIR;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(CWD, source, flags).map_err(step())?;
    if attributes != 0 {
        set_attributes(&tree, attributes)
            .map_err(Failure::at(format!("protect `{}`", source.display())))?;
    }
    Ok(Pending {
        tree,
        target: target.to_owned(),
        directory,
    })
}

/// The host's names and the container's own, which programs look up.
fn hosts(directories: &Directories) -> Result<PathBuf, Failure> {
    let path = directories.file("hosts");
    let known = fs_err::read_to_string(HOSTS)
        .unwrap_or_else(|_| "127.0.0.1 localhost\n::1 localhost\n".to_owned());
    fs_err::write(
        &path,
        format!("{}\n127.0.0.1 {HOST_NAME}\n", known.trim_end()),
    )
    .map_err(Failure::at("list the host names"))?;
    Ok(path)
}

const READ_ONLY_ATTRIBUTE: u64 = libc::MOUNT_ATTR_RDONLY;

/// Devices can be written to on a read-only mount, while nobody, the host's root neither, can change their mode or owner
/// through it.
const DEVICE_ATTRIBUTES: u64 =
    READ_ONLY_ATTRIBUTE | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC;

fn attribute(option: MountOption) -> u64 {
    match option {
        MountOption::ReadOnly => READ_ONLY_ATTRIBUTE,
        MountOption::NoSuid => libc::MOUNT_ATTR_NOSUID,
        MountOption::NoDev => libc::MOUNT_ATTR_NODEV,
        MountOption::NoExec => libc::MOUNT_ATTR_NOEXEC,
    }
}

pub(super) fn set_attributes(tree: &OwnedFd, attributes: u64) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: attributes,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    let flags = libc::AT_EMPTY_PATH | libc::AT_RECURSIVE;
    // SAFETY: path and attributes outlive the call, and the size is theirs.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn mount_kernel_file_systems(inside: &Inside) -> Result<(), Failure> {
    let plain = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let make = |kind: &str, target: &str, flags: MountFlags, options: &str| {
        let step = format!("mount `{target}`");
        inside
            .directory(Path::new(target), Reach::Mounts)
            .map_err(Failure::at(step.clone()))?;
        let options = CString::new(options).map_err(Failure::at(step.clone()))?;
        mount(kind, target, kind, flags, options.as_c_str()).map_err(Failure::at(step))
    };
    make(
        "tmpfs",
        "/dev",
        MountFlags::NOSUID | MountFlags::STRICTATIME,
        "mode=755,size=64m",
    )?;
    make(
        "devpts",
        "/dev/pts",
        MountFlags::NOSUID | MountFlags::NOEXEC,
        "newinstance,ptmxmode=0666,mode=0620",
    )?;
    make("tmpfs", "/dev/shm", plain, SHM_SIZE)?;
    make("mqueue", "/dev/mqueue", plain, "")?;
    let links = [
        ("/proc/self/fd", "/dev/fd"),
        ("/proc/self/fd/0", "/dev/stdin"),
        ("/proc/self/fd/1", "/dev/stdout"),
        ("/proc/self/fd/2", "/dev/stderr"),
        ("pts/ptmx", "/dev/ptmx"),
        ("/proc/kcore", "/dev/core"),
    ];
    for (target, link) in links {
        std::os::unix::fs::symlink(target, link).map_err(Failure::at(format!("link `{link}`")))?;
    }
    inside
        .directory(Path::new("/sys"), Reach::Mounts)
        .map_err(Failure::at("make `/sys`"))?;
    Ok(())
}

/// Makes the place if need be, below the new root, and moves the mount there.
fn place(inside: &Inside, mount: &Pending) -> io::Result<()> {
    let target = Path::new(&mount.target);
    let target = if mount.directory {
        inside.directory(target, Reach::Mounts)?
    } else {
        inside.file(target)?
    };
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(&mount.tree, "", &target, "", flags)?;
    Ok(())
}

/// File systems of the kernel that are mounted below `/sys`: debugging, tracing, security, eBPF, firmware. The one for
/// control groups stays, since programs read there how much memory and time they have.
fn kernel_mounts() -> Result<Vec<String>, Failure> {
    let table = fs_err::read_to_string("/proc/self/mountinfo")
        .map_err(Failure::at("read the table of mounts"))?;
    let mounted = table.lines().filter_map(|line| line.split(' ').nth(4));
    Ok(mounted
        .filter(|point| point.starts_with("/sys/") && !Path::new(point).starts_with(CONTROL_GROUPS))
        .map(str::to_owned)
        .collect())
}

fn hide_kernel_files() -> Result<(), Failure> {
    for name in MASKED
        .map(str::to_owned)
        .into_iter()
        .chain(kernel_mounts()?)
    {
        let path = Path::new(&name);
        let masked = match fs_err::metadata(path) {
            Ok(found) if found.is_dir() => {
                mount("tmpfs", path, "tmpfs", MountFlags::RDONLY, c"size=0k")
            }
            Ok(_) => mount_bind_recursive("/dev/null", path),
            // Not every kernel has each.
            Err(_) => Ok(()),
        };
        masked.map_err(Failure::at(format!("hide `{name}`")))?;
    }
    for name in READ_ONLY
        .into_iter()
        .filter(|name| Path::new(name).exists())
    {
        protect(name).map_err(Failure::at(format!("protect `{name}`")))?;
    }
    Ok(())
}

fn protect(path: &str) -> io::Result<()> {
    mount_bind_recursive(path, path)?;
    let tree = open_tree(CWD, path, OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
    set_attributes(&tree, READ_ONLY_ATTRIBUTE)
}
