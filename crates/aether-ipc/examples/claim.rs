//! Large messages without a copy: written where the consumer reads them.

use std::{error::Error, thread};

use aether_ipc::Buffer;

const FRAME: usize = 320 * 240;
const FRAMES: i64 = 100;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let buffer = Buffer::create(folder.path().join("frames"), 1 << 20)?;
    let (mut camera, mut screen) = (buffer.producer()?, buffer.consumer()?);
    // Should the other side end early, waiting for it is an error.
    screen.require_producer(true);

    let filming = thread::spawn(move || -> aether_ipc::Result<()> {
        for id in 0..FRAMES {
            camera.wait_for_space(FRAME, None)?;
            let mut frame = camera.claim(FRAME)?;
            // The bytes of the ring itself, to be filled by whatever makes the picture.
            frame.payload_mut().fill(id as u8);
            frame.commit(id, 0);
        }
        Ok(())
    });

    let mut shown = 0;
    while shown < FRAMES {
        screen.wait()?;
        // Borrowed from the ring, and given back when the batch drops.
        for frame in &screen.batch(4)? {
            assert_eq!(frame.id(), shown);
            assert_eq!(frame.payload().len(), FRAME);
            assert!(frame.payload().iter().all(|&pixel| pixel == frame.id() as u8));
            shown += 1;
        }
    }
    filming.join().expect("the camera does not panic")?;
    println!("{shown} frames of {FRAME} bytes");
    Ok(())
}
