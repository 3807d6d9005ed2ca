// Publishes by WHIP a canvas of one colour, in which a small square moves so that pictures differ.
(async () => {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [320, 240];
  const context = canvas.getContext("2d");
  let turn = 0;
  setInterval(() => {
    context.fillStyle = "rgb(200 40 40)";
    context.fillRect(0, 0, 320, 240);
    context.fillStyle = "white";
    context.fillRect((turn = (turn + 4) % 300), 0, 20, 20);
  }, 40);
  const connection = (globalThis.connection = new RTCPeerConnection());
  const [track] = canvas.captureStream(25).getVideoTracks();
  connection.addTransceiver(track, { direction: "sendonly" });
  // As encoders do; there is nobody who listens.
  connection.addTransceiver("audio", { direction: "sendonly" });
  await connection.setLocalDescription();
  const answer = await fetch("PATH/whip", {
    method: "POST",
    headers: { "Content-Type": "application/sdp" },
    body: connection.localDescription.sdp,
  });
  if (answer.status !== 201) return `${answer.status} ${await answer.text()}`;
  await connection.setRemoteDescription({ type: "answer", sdp: await answer.text() });
  const end = () => fetch(answer.headers.get("Location"), { method: "DELETE" });
  globalThis.leave = async () => (await end()).status;
  return "published";
})()
