// Plays the stream this page lies in: by hls.js, or by the browser itself where that is Safari,
// which knows low-latency HLS. When a stream ends or breaks, it is asked for again and again.
"use strict";

const PLAYLIST = "index.m3u8";
const RETRY_MS = 2000;
const LATENCY_INTERVAL_MS = 500;

const video = document.querySelector("video");
const state = document.querySelector("#state");
document.title = decodeURI(location.pathname).split("/").filter(Boolean).pop();

// Other browsers say that they can, and then play seconds behind.
const isSafari = "WebKitMediaKeys" in window || "ManagedMediaSource" in window;
const isNative = isSafari && video.canPlayType("application/vnd.apple.mpegurl") !== "";
let hls = null;

function start() {
  if (isNative) {
    video.src = PLAYLIST;
  } else if (Hls.isSupported()) {
    hls = new Hls({ lowLatencyMode: true, maxLiveSyncPlaybackRate: 1.5, backBufferLength: 10 });
    hls.on(Hls.Events.ERROR, (_event, error) => error.fatal && startAgain());
    hls.loadSource(PLAYLIST);
    hls.attachMedia(video);
  } else {
    state.textContent = "This browser plays no HLS";
  }
}

function startAgain() {
  state.textContent = "Waiting for the stream";
  hls?.destroy();
  hls = null;
  setTimeout(start, RETRY_MS);
}

function showLatency() {
  if (hls === null || video.readyState < HTMLMediaElement.HAVE_FUTURE_DATA) {
    return;
  }
  state.textContent = `Live, ${hls.latency.toFixed(1)} s behind`;
}

video.addEventListener("ended", startAgain);
video.addEventListener("error", () => isNative && startAgain());
video.addEventListener("playing", () => { state.textContent = "Live"; });
video.addEventListener("canplay", () => video.play().catch(() => { state.textContent = "Press play"; }));
setInterval(showLatency, LATENCY_INTERVAL_MS);
start();
