use super::*;

/// Runs a job in which everybody waits until all have come, so that none can be left out. `f` gets 0 on the caller, and
/// numbers from 1 on on the workers.
fn meet(pool: &Threads, f: impl Fn(usize) + Sync) {
    let (caller, here, workers) =
        (thread::current().id(), AtomicUsize::new(0), AtomicUsize::new(0));
    pool.run(&|| {
        here.fetch_add(1, SeqCst);
        while here.load(SeqCst) < pool.count() {
            thread::yield_now();
        }
        let own = thread::current().id() == caller;
        f(if own { 0 } else { 1 + workers.fetch_add(1, SeqCst) });
    });
}

#[test]
fn every_worker_can_take_part_once() {
    for count in [1, 2, 3, 7] {
        let pool = Threads::new(Some(count)).unwrap();
        let calls: Vec<_> = (0..count).map(|_| AtomicUsize::new(0)).collect();
        for _ in 0..50 {
            meet(&pool, |who| {
                calls[who].fetch_add(1, Relaxed);
            });
        }
        assert!(calls.iter().all(|n| n.load(Relaxed) == 50), "{count}");
    }
}

#[test]
fn the_caller_takes_part_in_every_job() {
    let pool = Threads::new(Some(3)).unwrap();
    let caller = thread::current().id();
    let (own, all) = (AtomicUsize::new(0), AtomicUsize::new(0));
    for _ in 0..2000 {
        pool.run(&|| {
            own.fetch_add(usize::from(thread::current().id() == caller), Relaxed);
            all.fetch_add(1, Relaxed);
        });
    }
    assert_eq!(own.into_inner(), 2000);
    assert!((2000..=6000).contains(&all.into_inner()));
}

#[test]
fn sleepers_wake() {
    let pool = Threads::new(Some(3)).unwrap();
    for _ in 0..5 {
        thread::sleep(SPIN * 20);
        // The last worker keeps the caller waiting until that sleeps too.
        meet(&pool, |who| {
            if who == 2 {
                thread::sleep(SPIN * 20);
            }
        });
    }
}

#[test]
fn each_calls_every_index_once() {
    let pool = Threads::new(Some(2)).unwrap();
    for (count, cost) in [(0, GRAIN), (1, GRAIN), (100, 1), (100, GRAIN)] {
        let calls: Vec<_> = (0..count).map(|_| AtomicUsize::new(0)).collect();
        pool.each(
            count,
            cost,
            || (),
            |(), i| {
                calls[i].fetch_add(1, Relaxed);
            },
        );
        assert!(calls.iter().all(|n| n.load(Relaxed) == 1), "{count}");
    }
}

#[test]
fn a_busy_pool_lets_others_run_alone() {
    let pool = Threads::new(Some(2)).unwrap();
    // From inside a job.
    let inner = AtomicUsize::new(0);
    meet(&pool, |_| {
        let this = thread::current().id();
        pool.run(&|| {
            assert_eq!(thread::current().id(), this);
            inner.fetch_add(1, Relaxed);
        });
    });
    assert_eq!(inner.into_inner(), 2);
    // From several threads at once.
    let total = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    pool.each(
                        100,
                        GRAIN,
                        || (),
                        |(), _| {
                            total.fetch_add(1, Relaxed);
                        },
                    );
                }
            });
        }
    });
    assert_eq!(total.into_inner(), 4 * 200 * 100);
}

#[test]
fn panics_reach_the_caller_and_the_pool_lives_on() {
    let pool = Threads::new(Some(2)).unwrap();
    for who in [0, 1] {
        let job = || meet(&pool, |worker| assert_ne!(worker, who, "worker {who} fails"));
        let panic = catch_unwind(AssertUnwindSafe(job)).unwrap_err();
        assert!(panic.downcast::<String>().unwrap().contains(&format!("worker {who} fails")));
        meet(&pool, |_| ());
    }
}

#[test]
fn counts_are_checked() {
    assert!(Threads::new(Some(0)).is_err());
    assert!(Threads::new(Some(usize::MAX)).is_err());
    assert!(Threads::new(None).unwrap().count() >= 1);
}
