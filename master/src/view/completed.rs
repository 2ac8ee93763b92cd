//! Frameworks that are over in this term: what they were last, and when they came and went, for who looks back. At most
//! [`COMPLETED_FRAMEWORKS_MAX`]; the longest over are forgotten.

use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use proffer_master_core::effect::FrameworkRow;
use proffer_model::FrameworkId;

use super::pages::{Keyed, Rows, Table};
use crate::limits::COMPLETED_FRAMEWORKS_MAX;

/// A framework that is over.
#[derive(Clone, Debug)]
pub(crate) struct CompletedFramework {
    /// What it was last.
    pub(crate) row: Arc<FrameworkRow>,
    /// When it was first heard of in this term.
    pub(crate) registered_wall_ms: u64,
    /// When it was over.
    pub(crate) unregistered_wall_ms: u64,
}

impl Keyed for CompletedFramework {
    type Key = FrameworkId;

    fn key(&self) -> FrameworkId {
        self.row.framework.clone()
    }

    fn compare(&self, key: &FrameworkId) -> Ordering {
        self.row.framework.cmp(key)
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Completed {
    table: Table<CompletedFramework>,
    /// In the order in which they were over.
    order: VecDeque<FrameworkId>,
    /// When those that are not over were first heard of.
    came: BTreeMap<FrameworkId, u64>,
}

impl Completed {
    /// A framework is there that was not.
    pub(super) fn on_came(&mut self, framework: &FrameworkId, now_wall_ms: u64) {
        self.came.insert(framework.clone(), now_wall_ms);
        if self.table.remove(framework).is_some() {
            self.order.retain(|other| other != framework);
        }
    }

    /// A framework is over.
    pub(super) fn on_over(&mut self, row: Arc<FrameworkRow>, now_wall_ms: u64) {
        let came = self.came.remove(&row.framework);
        self.order.push_back(row.framework.clone());
        self.table.put(CompletedFramework {
            row,
            registered_wall_ms: came.unwrap_or(now_wall_ms),
            unregistered_wall_ms: now_wall_ms,
        });
        if self.order.len() > COMPLETED_FRAMEWORKS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.table.remove(&oldest);
        }
    }

    pub(super) fn rows(&self) -> Rows<CompletedFramework> {
        self.table.rows()
    }
}
