// What streams of Node expect to find.
const process = {
  env: {},
  browser: true,
  version: "",
  versions: {},
  nextTick: (f, ...args) => queueMicrotask(() => f(...args)),
};
export { process };
export default process;
export { Buffer } from "buffer/";
