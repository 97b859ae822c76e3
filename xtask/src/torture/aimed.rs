//! Deaths at every step of the protocol: the library ends its own process there, as `AETHER_DIE_AT` tells it.

use std::io::Write;

use aether_ipc::testing::STEPS;
use anyhow::{Result, bail};

use crate::child::{Kind, Ring};
use crate::trial::{Role, Trial};

/// How often each step was died at.
#[derive(Default)]
pub(crate) struct Deaths([u64; STEPS.len()]);

impl Deaths {
    fn aim(&mut self, trial: &mut Trial<'_>, role: Role, step: &str, passes: u64) -> Result<()> {
        if trial.aim(role, step, passes)? {
            for (count, _) in self.0.iter_mut().zip(STEPS).filter(|(_, name)| **name == step) {
                *count += 1;
            }
        }
        Ok(())
    }

    pub(crate) fn report(&self) -> Result<()> {
        let mut out = std::io::stdout().lock();
        for (step, count) in STEPS.iter().zip(self.0) {
            writeln!(out, "died at {step:32} {count:>14}")?;
        }
        let missed: Vec<_> = STEPS.iter().zip(self.0).filter(|(_, count)| *count == 0).map(|(step, _)| *step).collect();
        if !missed.is_empty() {
            bail!("nobody died at {}: no ring and role of this run reaches it", missed.join(", "));
        }
        Ok(())
    }
}

/// Everything that a ring can die of, each once.
pub(crate) fn every_step(trial: &mut Trial<'_>, ring: &Ring, deaths: &mut Deaths) -> Result<()> {
    // Only whoever sleeps is rung for.
    trial.park = true;
    let many = ring.consumers > 1;
    let passing = Role::Consumer(ring.consumers as usize - 1);
    if many {
        for step in ["joining", "joined", "naming"] {
            deaths.aim(trial, Role::Consumer(0), step, 0)?;
        }
    }
    trial.settle_in()?;
    trial.revive()?;
    trial.flow()?;

    let mut steps = vec![(Role::Producer, "written"), (Role::Producer, "publish"), (Role::Producer, "published")];
    steps.extend(["release", "released"].map(|step| (Role::Consumer(0), step)));
    match ring.kind {
        Kind::Sequence => steps.extend([(Role::Producer, "busy"), (Role::Producer, "stamped")]),
        Kind::Lossy => steps.push((Role::Producer, "evicted")),
        // One that never waits is never rung for.
        _ => steps.push((Role::Consumer(0), "rung")),
    }
    steps.push((Role::Producer, "rung"));
    for (role, step) in steps {
        for passes in [0, fastrand::u64(1..300)] {
            deaths.aim(trial, role, step, passes)?;
            trial.revive()?;
            trial.flow()?;
        }
    }
    if many {
        for step in ["joining", "joined"] {
            deaths.aim(trial, passing, step, 0)?;
            trial.revive()?;
            trial.flow()?;
        }
        trial.kill_all_of(passing)?;
        deaths.aim(trial, Role::Producer, "sweeping", 0)?;
        trial.revive()?;
        trial.flow()?;
    }
    trial.finish()
}
