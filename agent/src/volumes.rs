//! Persistent volumes: directories that outlive the tasks that use them. The master names every volume that is to be here;
//! what it names no more is garbage, is never given to anybody again, and goes when sandboxes of its age go.
//!
//! Files: `volumes/list` (what the master named last) and `volumes/<16 hex>/{volume,data}` beneath the work directory. No
//! path is made of an id: `volume` says which one it is. On a disk of its own the files are at `<root>/<16 hex>/data`
//! (PATH), or the mount point is the volume (MOUNT); the record is here all the same.
//!
//! A volume is told from an earlier one of the same id by its number. An agent that has never heard the list removes
//! nothing. The list is durable before anything is made or becomes garbage on its word.

mod files;
mod place;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proffer_model::kept_volume::{KeptVolume, VolumePlace};
use proffer_model::link::AgentVolume;
use proffer_model::mount::{check_mounts, check_places};
use proffer_model::resource_kind::DiskSource;
use proffer_model::{ExecutorSpec, Problem, Resources, TaskSpec, VolumeId, VolumeMount};
use proffer_proto::mesos::executor_mounts;
use proffer_server::clock;

use crate::limits::VOLUMES_LOOK_INTERVAL;
use crate::removal::{remove_all, remove_contents};

pub(crate) use place::{link, make_beneath, unlink};

/// Where a task finds a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mounted {
    /// Its files, absolute on the host.
    pub(crate) source: PathBuf,
    /// As the task asked: in its sandbox, or absolute in its container.
    pub(crate) path: String,
    /// Whether it may only read.
    pub(crate) is_read_only: bool,
}

/// Who gets a volume.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taker {
    /// Who owns the directory from now on.
    pub(crate) user: (u32, u32),
    /// Whether it has the volume in a container.
    pub(crate) is_container: bool,
}

/// All volumes of this agent.
#[derive(Clone, Debug)]
pub(crate) struct Volumes {
    shared: Arc<Shared>,
    wake: SyncSender<()>,
}

#[derive(Debug)]
struct Shared {
    dir: PathBuf,
    /// The disks that the operator has given the agent.
    disks: BTreeSet<DiskSource>,
    /// How long garbage is kept.
    keep: Duration,
    named: Mutex<Named>,
    kept: Mutex<Kept>,
}

/// What the master has named; changed without waiting for a disk.
#[derive(Debug)]
struct Named {
    /// Absent: it has never said.
    volumes: Option<BTreeSet<AgentVolume>>,
    version: u64,
}

/// What there is, by name of its directory.
#[derive(Debug)]
struct Kept {
    volumes: BTreeMap<String, KeptVolume>,
    /// The version of the list that is on disk.
    written: u64,
}

impl Volumes {
    /// Reads what is there, and starts the thread that removes garbage; the thread ends with the last of these values.
    /// `resources` are the agent's own. Errors: `file.failed`, `agent.checkpoint_damaged`.
    pub(crate) fn open(
        work_dir: &Path,
        resources: &Resources,
        keep: Duration,
    ) -> Result<Self, Problem> {
        let dir = work_dir.join("volumes");
        let (named, volumes) = files::read(&dir)?;
        let kinds = resources.special().map(|(kind, _)| kind);
        let disks = kinds.filter_map(|kind| kind.disk.as_ref()?.source.clone());
        let shared = Arc::new(Shared {
            dir,
            disks: disks.collect(),
            keep,
            named: Mutex::new(Named {
                volumes: named,
                version: 0,
            }),
            kept: Mutex::new(Kept {
                volumes,
                written: 0,
            }),
        });
        let (wake, woken) = sync_channel(1);
        let of_thread = shared.clone();
        std::thread::Builder::new()
            .name("volumes".to_owned())
            .spawn(move || of_thread.look_after(&woken))
            .map_err(|error| files::unusable(work_dir, &error))?;
        Ok(Self { shared, wake })
    }

    /// These are to be here, and no others. What is launched afterwards can count on it.
    pub(crate) fn keep(&self, volumes: Vec<AgentVolume>) {
        let mut named = lock(&self.shared.named);
        named.volumes = Some(volumes.into_iter().collect());
        named.version += 1;
        drop(named);
        // When it is full, the thread looks again anyway.
        let _ = self.wake.try_send(());
    }

    /// Finds or makes the volumes that a task mounts, and gives them to its user. The error is for people. Blocks.
    pub(crate) fn hand_over(&self, spec: &TaskSpec, taker: Taker) -> Result<Vec<Mounted>, String> {
        check_mounts(spec).map_err(|problem| problem.to_string())?;
        self.give_all((&spec.resources, &spec.volumes), taker)
    }

    /// The same of those that an executor of Mesos's API holds itself.
    pub(crate) fn hand_over_to_executor(
        &self,
        spec: &ExecutorSpec,
        taker: Taker,
    ) -> Result<Vec<Mounted>, String> {
        let mounts = executor_mounts(&spec.info);
        let checked = check_places(&spec.resources, &mounts, taker.is_container);
        checked.map_err(|problem| problem.to_string())?;
        self.give_all((&spec.resources, &mounts), taker)
    }

    /// Where the files are that a volume of this id and role has, or had.
    pub(crate) fn sources(&self, volume: &VolumeId, resources: &Resources) -> Vec<PathBuf> {
        let mut volumes = resources.volumes();
        let kind = volumes.find(|(_, of, _)| of.id == *volume);
        let role = kind.and_then(|(kind, ..)| kind.reserved_to());
        let kept = lock(&self.shared.kept);
        let is_it = |(_, kept): &(&String, &KeptVolume)| {
            kept.volume.id == *volume && Some(&kept.volume.role) == role
        };
        let found = kept.volumes.iter().filter(is_it);
        let sources = found.map(|(name, kept)| self.shared.data_of(name, &kept.place));
        sources.collect()
    }

    fn give_all(
        &self,
        (resources, mounts): (&Resources, &[VolumeMount]),
        taker: Taker,
    ) -> Result<Vec<Mounted>, String> {
        if mounts.is_empty() {
            return Ok(Vec::new());
        }
        let mut kept = lock(&self.shared.kept);
        self.shared
            .retire(&mut kept)
            .map_err(|error| format!("what became of volumes: {error}"))?;
        let mounts = mounts.iter().map(|mount| {
            let source = self.shared.give(&mut kept, resources, mount, taker);
            let source = source.map_err(|why| format!("volume {}: {why}", mount.volume))?;
            Ok(Mounted {
                source,
                path: mount.path.clone(),
                is_read_only: mount.is_read_only,
            })
        });
        mounts.collect()
    }
}

impl Shared {
    /// Where the files of the volume are, which is now the taker's.
    fn give(
        &self,
        kept: &mut Kept,
        resources: &Resources,
        mount: &VolumeMount,
        taker: Taker,
    ) -> Result<PathBuf, String> {
        let mut volumes = resources.volumes();
        let kind = volumes.find(|(_, volume, _)| volume.id == mount.volume);
        let (kind, role) = kind
            .and_then(|(kind, ..)| Some((kind, kind.reserved_to()?)))
            .ok_or("it is not among the task's resources")?;
        let volume = {
            let named = lock(&self.named);
            let mut all = named.volumes.iter().flatten();
            let named = all.find(|named| named.id == mount.volume && named.role == *role);
            named.cloned().ok_or("the master does not name it")?
        };
        let source = kind.disk.as_ref().and_then(|disk| disk.source.as_ref());
        let place = self.place_of(source)?;
        let of_volume = |(_, kept): &(&String, &KeptVolume)| {
            kept.volume == volume && kept.retired_wall_ms.is_none()
        };
        let found = kept.volumes.iter().find(of_volume);
        let (name, is_new) = match found.map(|(name, _)| name.clone()) {
            Some(name) => (name, false),
            None => (self.make(kept, volume, place.clone())?, true),
        };
        let record = kept.volumes.get_mut(&name).ok_or("it is gone")?;
        if record.place != place {
            return Err("it was made on another disk".to_owned());
        }
        let (uid, _) = taker.user;
        if record.is_contained && !taker.is_container && uid != 0 {
            let why = "a container has had it, and what root may have left in it is kept from other users: \
                       only containers can have it now";
            return Err(why.to_owned());
        }
        if taker.is_container && !record.is_contained {
            let contained = KeptVolume {
                is_contained: true,
                ..record.clone()
            };
            files::write_record(&self.dir.join(&name), &contained).map_err(said)?;
            *record = contained;
        }
        let record = record.clone();
        let data = self.data_of(&name, &record.place);
        self.seclude(&name, &record).map_err(said)?;
        // Of a volume that several use at once, the first one's user owns it.
        if is_new || !kind.is_shared {
            place::own(&data, taker.user).map_err(said)?;
        }
        Ok(data)
    }

    /// Keeps others than root from what containers have had; lets others pass through otherwise.
    fn seclude(&self, name: &str, record: &KeptVolume) -> io::Result<()> {
        let mode = if record.is_contained { 0o700 } else { 0o711 };
        place::set_mode(&self.dir.join(name), mode)?;
        match &record.place {
            VolumePlace::Own => Ok(()),
            VolumePlace::Path { root } => place::set_mode(&Path::new(root).join(name), mode),
            VolumePlace::Mount { root } if record.is_contained => place::check_nosuid(root),
            VolumePlace::Mount { .. } => Ok(()),
        }
    }

    fn place_of(&self, source: Option<&DiskSource>) -> Result<VolumePlace, String> {
        if source.is_some_and(|source| !self.disks.contains(source)) {
            return Err("its disk is not one of this agent's".to_owned());
        }
        match source {
            None => Ok(VolumePlace::Own),
            Some(DiskSource::Path { root }) => Ok(VolumePlace::Path { root: root.clone() }),
            Some(DiskSource::Mount { root }) => Ok(VolumePlace::Mount { root: root.clone() }),
            Some(DiskSource::Block { .. } | DiskSource::Raw { .. }) => {
                Err("its disk has no file system".to_owned())
            }
        }
    }

    fn data_of(&self, name: &str, place: &VolumePlace) -> PathBuf {
        match place {
            VolumePlace::Own => self.dir.join(name).join(files::DATA),
            VolumePlace::Path { root } => Path::new(root).join(name).join(files::DATA),
            VolumePlace::Mount { root } => PathBuf::from(root),
        }
    }

    /// Makes a volume; answers the name of its directory.
    fn make(
        &self,
        kept: &mut Kept,
        volume: AgentVolume,
        place: VolumePlace,
    ) -> Result<String, String> {
        let name = files::fresh_name().map_err(said)?;
        if let VolumePlace::Mount { root } = &place {
            place::check_mount(root)?;
            self.empty_mount(kept, root)
                .map_err(|error| format!("what a destroyed one has left in {root}: {error}"))?;
            let is_taken = |kept: &KeptVolume| kept.place == place;
            if kept.volumes.values().any(is_taken) {
                return Err(format!("another volume has {root}"));
            }
        }
        if let VolumePlace::Path { root } = &place {
            place::make_directories(root, &name).map_err(|error| format!("{root}: {error}"))?;
        }
        let record = KeptVolume {
            volume,
            place,
            retired_wall_ms: None,
            is_contained: false,
        };
        files::make_record(&self.dir, &name, &record).map_err(said)?;
        kept.volumes.insert(name.clone(), record);
        Ok(name)
    }

    /// Removes what destroyed volumes have left at a mount point.
    fn empty_mount(&self, kept: &mut Kept, root: &str) -> io::Result<()> {
        let is_garbage = |record: &KeptVolume| {
            record.retired_wall_ms.is_some()
                && matches!(&record.place, VolumePlace::Mount { root: of } if of == root)
        };
        let garbage = kept.volumes.iter().filter(|(_, record)| is_garbage(record));
        for name in garbage.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            place::check_mount(root).map_err(io::Error::other)?;
            remove_contents(Path::new(root))?;
            files::remove_record(&self.dir, &name)?;
            kept.volumes.remove(&name);
        }
        Ok(())
    }

    /// Has what the master named on disk.
    fn write_list(&self, kept: &mut Kept) -> io::Result<()> {
        let (volumes, version) = {
            let named = lock(&self.named);
            let volumes = named.volumes.iter().flatten().cloned();
            (volumes.collect::<Vec<_>>(), named.version)
        };
        if version > kept.written {
            files::write_list(&self.dir, &volumes)?;
            kept.written = version;
        }
        Ok(())
    }

    /// Makes garbage and removes it, when it is time.
    fn look_after(&self, woken: &Receiver<()>) {
        let mut reported = BTreeSet::new();
        loop {
            let retired = self.retire(&mut lock(&self.kept));
            let wait = match retired {
                Ok(()) => self.collect(&mut reported).min(VOLUMES_LOOK_INTERVAL),
                Err(error) => {
                    tracing::error!(%error, "what became of volumes cannot be written, and is tried again");
                    crate::limits::WRITE_RETRY_INTERVAL
                }
            };
            if woken.recv_timeout(wait) == Err(RecvTimeoutError::Disconnected) {
                return;
            }
        }
    }

    /// Makes garbage of what is not named.
    fn retire(&self, kept: &mut Kept) -> io::Result<()> {
        self.write_list(kept)?;
        let Some(named) = lock(&self.named).volumes.clone() else {
            return Ok(());
        };
        let now = clock::now().wall_ms;
        for (name, record) in &mut kept.volumes {
            if record.retired_wall_ms.is_none() && !named.contains(&record.volume) {
                let retired = KeptVolume {
                    retired_wall_ms: Some(now),
                    ..record.clone()
                };
                files::write_record(&self.dir.join(name), &retired)?;
                *record = retired;
                let AgentVolume { id, role, .. } = &record.volume;
                tracing::info!(volume = %id, %role, directory = %name, "a volume is no more");
            }
        }
        Ok(())
    }

    /// Answers when to look again.
    fn collect(&self, reported: &mut BTreeSet<String>) -> Duration {
        let now = clock::now().wall_ms;
        let keep_ms = u64::try_from(self.keep.as_millis()).unwrap_or(u64::MAX);
        let mut next = Duration::MAX;
        let kept = lock(&self.kept).volumes.clone();
        for (name, record) in kept {
            let Some(retired_ms) = record.retired_wall_ms else {
                continue;
            };
            let due_ms = match record.place {
                // The next volume needs the room.
                VolumePlace::Mount { .. } => 0,
                VolumePlace::Own | VolumePlace::Path { .. } => retired_ms.saturating_add(keep_ms),
            };
            if due_ms > now {
                next = next.min(Duration::from_millis(due_ms - now));
            } else if let Err(error) = self.remove(&name, &record)
                && reported.insert(name.clone())
            {
                tracing::warn!(directory = %name, %error, "what a volume has left cannot be removed");
            }
        }
        next
    }

    fn remove(&self, name: &str, record: &KeptVolume) -> io::Result<()> {
        match &record.place {
            VolumePlace::Mount { root } => {
                return self.empty_mount(&mut lock(&self.kept), root);
            }
            VolumePlace::Path { root } => remove_all(&Path::new(root).join(name))?,
            VolumePlace::Own => remove_all(&self.data_of(name, &record.place))?,
        }
        let mut kept = lock(&self.kept);
        files::remove_record(&self.dir, name)?;
        kept.volumes.remove(name);
        Ok(())
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what map_err gives")]
fn said(error: io::Error) -> String {
    error.to_string()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
