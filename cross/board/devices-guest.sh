# Runs on the board, as root; /host holds the test programs and the module. See devices.sh.
set -euo pipefail
failed=
# try <title> <program> <arguments…>: what it says of each test; all that it said if one failed.
try() {
    local title=$1 status=0
    shift
    echo "== $title"
    "$@" --test-threads 1 --nocapture > /tmp/said 2>&1 || status=$?
    if [ $status -ne 0 ] || grep -q '^test result: ok. 0 passed' /tmp/said; then
        cat /tmp/said
        failed=yes
    else
        grep -E '^test |^skipped|: .*(JPG|JPEG|YUYV|NV12|I420|GRAY)|^mean luma' /tmp/said
    fi
}

apt-get update -qq
apt-get install -y -qq gstreamer1.0-plugins-good gstreamer1.0-plugins-base gstreamer1.0-alsa > /dev/null

driver=/sys/bus/platform/drivers/vivid
export AIMASS_TEST_CAMERA=/dev/video0
export AIMASS_TEST_UNPLUG="echo vivid.0 > $driver/unbind" AIMASS_TEST_PLUG="echo vivid.0 > $driver/bind"
try "vivid" /host/devices
unset AIMASS_TEST_UNPLUG AIMASS_TEST_PLUG

modprobe videodev
insmod /host/v4l2loopback.ko video_nr=40 card_label=loopback
# The format is to stay when nobody has the device open; each buffer is one write, and so one picture.
v4l2-ctl -d /dev/video40 -c keep_format=1
v4l2-ctl -d /dev/video40 --set-fmt-video-out=width=320,height=240,pixelformat=MJPG > /dev/null
gst-launch-1.0 -q videotestsrc horizontal-speed=2 is-live=true ! video/x-raw,format=I420,width=320,height=240,framerate=10/1 \
    ! jpegenc ! filesink location=/dev/video40 buffer-mode=unbuffered > /tmp/sender 2>&1 &
sender=$!
# There is a format to read once a picture was written, which takes as long as GStreamer takes to start.
for _ in $(seq 30); do
    ! v4l2-ctl -d /dev/video40 --list-formats-ext > /tmp/formats || ! grep -q MJPG /tmp/formats || break
    sleep 1
done
grep -q MJPG /tmp/formats ||
    { cat /tmp/sender /tmp/formats; echo "no MJPEG camera"; exit 1; }
AIMASS_TEST_CAMERA=/dev/video40 try "v4l2loopback, MJPEG" /host/devices
kill $sender || { cat /tmp/sender; failed=yes; }

# A sine of 440 Hz with an RMS of -9 dBFS, played into one end of the loop all the time.
gst-launch-1.0 -q audiotestsrc volume=0.5 ! audio/x-raw,format=S16LE,rate=48000,channels=2 \
    ! alsasink device=hw:Loopback,0 > /tmp/sender 2>&1 &
sender=$!
sleep 5
export AIMASS_TEST_MICROPHONE=alsa:hw:Loopback,1 AIMASS_TEST_MICROPHONE_DBFS=-9.0
try "snd-aloop" /host/microphones
kill $sender || { cat /tmp/sender; failed=yes; }
[ -z "$failed" ]
