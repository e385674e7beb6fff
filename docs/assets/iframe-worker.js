// A page that is opened as a file may start no worker: its search then works in a hidden frame.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      this.frame.worker = this;
      this.ready = new Promise((go) => this.frame.addEventListener("load", go, { once: true }));
      this.frame.srcdoc = `<!doctype html><body><script>
        self.postMessage = (data) => frameElement.worker.dispatchEvent(new MessageEvent("message", { data }));
        self.importScripts = (...urls) => urls.reduce((before, url) => before.then(() => new Promise((go, fail) => {
          const script = document.createElement("script");
          Object.assign(script, { src: url, onload: go, onerror: fail });
          document.body.append(script);
        })), Promise.resolve());
      <\/script><script src="${url}"><\/script>`;
      document.body.append(this.frame);
    }
    postMessage(data) {
      this.ready.then(() => this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data })));
    }
    terminate() {
      this.frame.remove();
    }
  };
}
