//! What the agent keeps on disk of its persistent volumes.

use proffer_model::Problem;
use proffer_model::kept_volume::{KeptVolume, VolumePlace};
use proffer_model::link::AgentVolume;

use crate::agent_link::{
    decode_agent_volume, decode_agent_volumes, encode_agent_volume, encode_agent_volumes,
};
use crate::checkpoint::v1;
use crate::checkpoint::v1::volume::Place;
use crate::fields::required;

/// The content of the file `volumes/list`.
pub fn encode_volume_list(volumes: &[AgentVolume]) -> v1::VolumeList {
    v1::VolumeList {
        schema: 1,
        volumes: Some(encode_agent_volumes(volumes)),
    }
}

/// The content of the file `volumes/list`, checked.
pub fn decode_volume_list(list: v1::VolumeList) -> Result<Vec<AgentVolume>, Problem> {
    let volumes = required(list.volumes, "volumes")?;
    decode_agent_volumes(volumes).map_err(|problem| problem.within("volumes"))
}

/// The content of the file `volume`.
pub fn encode_kept_volume(kept: &KeptVolume) -> v1::Volume {
    v1::Volume {
        volume: Some(encode_agent_volume(&kept.volume)),
        place: Some(match &kept.place {
            VolumePlace::Own => Place::Own(true),
            VolumePlace::Path { root } => Place::PathRoot(root.clone()),
            VolumePlace::Mount { root } => Place::MountRoot(root.clone()),
        }),
        retired_wall_ms: kept.retired_wall_ms.map_or(0, |ms| ms.max(1)),
        contained: kept.is_contained,
    }
}

/// The content of the file `volume`, checked.
pub fn decode_kept_volume(kept: v1::Volume) -> Result<KeptVolume, Problem> {
    let volume = required(kept.volume, "volume")?;
    Ok(KeptVolume {
        volume: decode_agent_volume(volume).map_err(|problem| problem.within("volume"))?,
        place: match required(kept.place, "place")? {
            Place::Own(_) => VolumePlace::Own,
            Place::PathRoot(root) => VolumePlace::Path { root },
            Place::MountRoot(root) => VolumePlace::Mount { root },
        },
        retired_wall_ms: Some(kept.retired_wall_ms).filter(|ms| *ms > 0),
        is_contained: kept.contained,
    })
}
